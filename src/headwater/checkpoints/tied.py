"""Tied weights: keys of a state dict that are one and the same tensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch

from headwater.distributed import own_part
from headwater.errors import CheckpointMismatchError


def tied_keys(model_state: Mapping[str, object]) -> list[list[str]]:
    """The groups of two or more keys under which the model holds the very same tensor."""
    groups: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for key, value in model_state.items():
        # A tensor without memory (empty, or on the meta device) is tied to nothing.
        if isinstance(value, torch.Tensor) and value.layout == torch.strided and _pointer(value):
            place = (value.device, _pointer(value), value.shape, value.stride(), value.dtype)
            groups[place].append(key)
    return [group for group in groups.values() if len(group) > 1]


def complete_tied(
    match: Mapping[str, str],
    model_state: Mapping[str, object],
    state: Mapping[str, object],
    name: str,
) -> dict[str, str]:
    """The match of keys, where a tied weight that was saved once serves all its names.

    Files of `safetensors.torch.save_model` and of Hugging Face hold a tied weight only once.

    Raises:
        CheckpointMismatchError: the checkpoint has different values for what the model ties.
    """
    completed = dict(match)
    for group in tied_keys(model_state):
        saved = [key for key in group if key in match]
        for key in group if saved else []:
            completed.setdefault(key, match[saved[0]])
        for other in saved[1:]:
            if not _agree(state[match[saved[0]]], state[match[other]]):
                raise CheckpointMismatchError(
                    f"{name} does not fit the model: {saved[0]!r} and {other!r} are one tied "
                    "weight in the model, and two different tensors in the checkpoint; "
                    "pass a model that ties the weights that were tied in training"
                )
    return completed


def _pointer(tensor: torch.Tensor) -> int:
    part = own_part(tensor)
    return part.data_ptr() if part.numel() else 0


def _agree(one: object, other: object) -> bool:
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return True
    if one.shape != other.shape:
        # Reported as what it is, a difference in shape, by the comparison with the model.
        return True
    return one is other or torch.equal(one, other.to(one))
