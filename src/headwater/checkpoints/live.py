"""State dicts in memory that are the model's own tensors, not a copy of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from headwater.distributed import own_part
from headwater.errors import CheckpointError

Memory = set[tuple[torch.device, int]]


def memory_of(model: torch.nn.Module) -> Memory:
    """The places in memory of everything that `model.state_dict()` holds."""
    return _memory(model.state_dict().values())


def refuse_live_state(own: Memory, state: Mapping[str, object], name: str) -> None:
    """Return if the state has memory of its own, apart from the model's.

    `model.state_dict()` shares the model's memory, so that loading any other checkpoint would
    overwrite it: what was the first checkpoint would silently become the last one.

    Raises:
        CheckpointError: a tensor of the state shares memory with the model.
    """
    for key, value in state.items():
        if own & _memory([value]):
            raise CheckpointError(
                f"{name} shares memory with the model (key {key!r}), so loading another checkpoint "
                "would overwrite it; pass copies: copy.deepcopy(model.state_dict())"
            )


def _memory(values: Iterable[object]) -> Memory:
    places = {
        (value.device, own_part(value).untyped_storage().data_ptr())
        for value in values
        if isinstance(value, torch.Tensor) and value.layout == torch.strided
    }
    return {(device, pointer) for device, pointer in places if pointer}
