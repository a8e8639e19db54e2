"""The model's state as tensors that a safetensors file can hold."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headwater.checkpoints.keys import is_extra_state
from headwater.checkpoints.tied import tied_keys
from headwater.errors import HeadwaterWarning, InputError, RecordingMismatchError

_DIFFERENCES_SHOWN = 3


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module inside of DataParallel, DDP and torch.compile."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, nn.DataParallel | nn.parallel.DistributedDataParallel
        ):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def state_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers by key, a tied weight under the first of its keys."""
    state: dict[str, object] = model.state_dict()
    seconds = {key for group in tied_keys(state) for key in group[1:]}
    return {
        key: value
        for key, value in state.items()
        if isinstance(value, Tensor) and not is_extra_state(key) and key not in seconds
    }


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers, no two tensors in the same memory and each without gaps.

    What safetensors asks for. Only what isn't so already is copied.
    """
    own: dict[str, Tensor] = {}
    seen: set[tuple[torch.device, int]] = set()
    for key, tensor in tensors.items():
        found = tensor.detach()
        place = (found.device, found.untyped_storage().data_ptr())
        whole = found.untyped_storage().nbytes() == found.numel() * found.element_size()
        if place in seen or not whole or not found.is_contiguous():
            found = found.clone(memory_format=torch.contiguous_format)
        seen.add(place)
        own[key] = found
    return own


def describe_model(model: nn.Module) -> dict[str, Any]:
    """What tells a model from another one, in JSON: its class, and its keys, shapes and dtypes.

    Raises:
        InputError: a tensor isn't one that a safetensors file can hold.
    """
    state = []
    for key, tensor in state_tensors(model).items():
        if tensor.layout != torch.strided or tensor.is_meta or hasattr(tensor, "full_tensor"):
            raise InputError(
                f"{key!r} is a {type(tensor).__name__} of layout {tensor.layout} on "
                f"{tensor.device}; only whole, dense tensors can be recorded (of a sharded model, "
                f"save checkpoints by the means of what shards it)"
            )
        state.append([key, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")])
    return {"class": type(model).__name__, "state": state}


def warn_of_extra_state(model: nn.Module) -> None:
    """Warns of state that isn't recorded, since it is no tensor."""
    keys = [
        key
        for key, value in model.state_dict().items()
        if is_extra_state(key) or not isinstance(value, Tensor)
    ]
    if keys:
        warnings.warn(
            f"{keys[0]!r} ({len(keys)} of the kind) is state of the model that is no tensor; it "
            f"isn't recorded, and stays as it is in the model that checkpoints are loaded into",
            HeadwaterWarning,
            stacklevel=4,
        )


def refuse_other_model(recorded: Mapping[str, Any], given: Mapping[str, Any], folder: str) -> None:
    """Raises RecordingMismatchError if a recording is of another model.

    Args:
        recorded: the description in the manifest.
        given: that of the model that is to be recorded.
        folder: the recording's.
    """
    old, new = (
        {key: (tuple(shape), dtype) for key, shape, dtype in description["state"]}
        for description in (recorded, given)
    )
    differences = [f"{key!r} is new" for key in new if key not in old]
    differences += [f"{key!r} is gone" for key in old if key not in new]
    differences += [
        f"{key!r} is {_said(old[key])} there and {_said(new[key])} here"
        for key in old
        if key in new and old[key] != new[key]
    ]
    if not differences:
        return
    shown = "; ".join(differences[:_DIFFERENCES_SHOWN])
    if len(differences) > _DIFFERENCES_SHOWN:
        shown += f"; and {len(differences) - _DIFFERENCES_SHOWN} more"
    raise RecordingMismatchError(
        f"the recording in {folder} is of another model ({recorded['class']}, and this is a "
        f"{given['class']}): {shown}. Go on with the model that was recorded, or name a new folder"
    )


def _said(tensor: tuple[tuple[int, ...], str]) -> str:
    shape, dtype = tensor
    return f"{shape} of {dtype}"
