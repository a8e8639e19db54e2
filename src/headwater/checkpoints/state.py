"""Copying a state into the model, once it is known to fit."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from headwater.checkpoints.adapter import match_adapter
from headwater.checkpoints.keys import is_extra_state, match_keys
from headwater.checkpoints.tied import complete_tied
from headwater.distributed import dealt_like, is_sharded
from headwater.errors import CheckpointMismatchError


def load_state(model: nn.Module, state: Mapping[str, object], name: str) -> None:
    """Copy the state into the model's own tensors, after all of it was compared with them.

    Prefixes of wrappers are seen through. A state of PEFT's that holds the adapter alone leaves the
    rest of the model as it is. Numbers of another dtype are cast. A module's extra
    state (`get_extra_state`) is loaded where the checkpoint has it, and may be missing.

    Raises:
        CheckpointMismatchError: a key is missing or unexpected, or a shape differs.
    """
    own: dict[str, object] = model.state_dict()
    adapter = match_adapter(model, state)
    if adapter is not None:
        own = {key: value for key, value in own.items() if key in adapter}
    match = adapter or complete_tied(match_keys(list(own), list(state)), own, state, name)
    differences = list(_differences(own, state, match))
    if differences:
        many = (
            f"the first of {len(differences)} differences"
            if differences[1:]
            else "the only difference"
        )
        raise _mismatch(name, f"{differences[0]} ({many})")
    # Extra state is handed over as it is, and must not tie the user's objects to the model.
    renamed = OrderedDict(
        (
            key,
            copy.deepcopy(state[match[key]])
            if is_extra_state(key)
            else _dealt(state[match[key]], own[key]),
        )
        for key in own
        if key in match
    )
    renamed._metadata = _metadata(state, match)  # type: ignore[attr-defined]
    try:
        with torch.no_grad():
            # Not strict, only because extra state may be missing: all else was compared above.
            left = model.load_state_dict(renamed, strict=False)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise _mismatch(name, f"load_state_dict says {error}") from error
    # Modules with loading code of their own may still disagree with what `state_dict` promised.
    refused = [
        key
        for keys in left or ()
        for key in keys
        if not is_extra_state(key) and (adapter is None or key in own)
    ]
    if refused:
        raise _mismatch(name, f"load_state_dict does not take {', '.join(map(repr, refused))}")


def _differences(
    own: Mapping[str, object], state: Mapping[str, object], match: Mapping[str, str]
) -> Iterator[str]:
    for key, value in own.items():
        if is_extra_state(key) or not isinstance(value, torch.Tensor):
            continue
        if key not in match:
            yield f"{key!r} is missing in the checkpoint"
            continue
        saved = state[match[key]]
        if not isinstance(saved, torch.Tensor):
            yield f"{key!r} is of type {type(saved).__name__} in the checkpoint, and no tensor"
        # The shape of a lazy module's parameter isn't known before it is loaded.
        elif not nn.parameter.is_lazy(value) and saved.shape != value.shape:
            shapes = f"{tuple(saved.shape)} in the checkpoint and {tuple(value.shape)} in the model"
            yield f"{key!r} has shape {shapes}"
    used = set(match.values())
    for key in state:
        if key not in used and not is_extra_state(key):
            yield f"{key!r} is unexpected: the model has no such key"


def _dealt(saved: object, own: object) -> object:
    """What was saved whole, dealt out as the model's own tensor is; each rank takes its rows."""
    if not isinstance(saved, torch.Tensor) or not isinstance(own, torch.Tensor):
        return saved
    return dealt_like(saved, own) if is_sharded(own) and not is_sharded(saved) else saved


def _mismatch(name: str, difference: str) -> CheckpointMismatchError:
    return CheckpointMismatchError(
        f"{name} does not fit the model: {difference}. Pass a model of the architecture that was "
        "saved, or a checkpoints_load_func of your own that converts the state"
    )


def _metadata(state: Mapping[str, object], match: Mapping[str, str]) -> dict[str, object]:
    """The modules' versions under the model's names, for `load_state_dict` to read."""
    saved: dict[str, object] = dict(getattr(state, "_metadata", None) or {})
    renamed = dict(saved)
    for model_key, state_key in match.items():
        if model_key == state_key:
            continue
        ours, theirs = model_key, state_key
        # Upwards from the parameter, for as long as both names end in the same segment.
        while ours and theirs and ours.rpartition(".")[2] == theirs.rpartition(".")[2]:
            ours, theirs = ours.rpartition(".")[0], theirs.rpartition(".")[0]
            if theirs in saved:
                renamed[ours] = saved[theirs]
    return renamed
