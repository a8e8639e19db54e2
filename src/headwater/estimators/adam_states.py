"""Adam's states at the checkpoints of a recording, read when they are needed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from headwater.checkpoints import (
    CheckpointSeries,
    RecordedCheckpoint,
    adam_states,
    recorded_gradient,
    recorded_weights,
)
from headwater.engine import memory_budget_bytes
from headwater.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import Tensor

    from headwater.checkpoints import AdamState


def recorded_series(checkpoints: Any, name: str) -> list[RecordedCheckpoint]:
    """The recorded checkpoints that an argument stands for.

    Raises:
        InputError: it is none of a recording's.
    """
    if isinstance(checkpoints, (str, os.PathLike)) and not isinstance(
        checkpoints, RecordedCheckpoint
    ):
        # That its formula isn't plain SGD's is what this method is about: nothing to warn of.
        return list(CheckpointSeries.open(checkpoints, rates="recorded"))
    found = list(checkpoints) if isinstance(checkpoints, (list, tuple, CheckpointSeries)) else []
    if not found or not all(isinstance(one, RecordedCheckpoint) for one in found):
        raise InputError(
            f"checkpoints is a {type(checkpoints).__name__}; {name} is made of Adam's moments, so "
            f"it expects the folder of a recording or its CheckpointSeries: record training with "
            f"CheckpointRecorder(..., moments=True)"
        )
    return found


class RecordedAdam:
    """Adam's states by checkpoint; all are kept where they fit a quarter of the memory budget.

    Args:
        checkpoints: recorded with moments.
        shapes: the shape of every parameter that counts.
        memory_budget: of the estimator.
    """

    def __init__(
        self,
        checkpoints: Sequence[RecordedCheckpoint],
        shapes: Mapping[str, torch.Size],
        memory_budget: int | str,
    ) -> None:
        self._checkpoints = checkpoints
        self._shapes = shapes
        self._memory_budget = memory_budget
        self._kept: dict[int, tuple[object, Mapping[str, AdamState]]] = {}

    def __call__(self, place: int, like: Tensor) -> Mapping[str, AdamState]:
        """The state of every parameter before the update from the checkpoint in a place."""
        kind = (like.dtype, like.device)
        known = self._kept.get(place)
        if known is not None and known[0] == kind:
            return known[1]
        states = adam_states(self._checkpoints[place], self._shapes, like)
        numbers = 2 * sum(shape.numel() for shape in self._shapes.values())
        whole = numbers * like.element_size() * len(self._checkpoints)
        if whole > memory_budget_bytes(self._memory_budget) // 4:
            self._kept.clear()
        self._kept[place] = (kind, states)
        return states

    def derivatives(self, place: int, like: Tensor) -> dict[str, Tensor]:
        """By coordinate, how the update from the checkpoint in a place grows with its gradient."""
        checkpoint = self._checkpoints[place]
        gradient = recorded_gradient(checkpoint, self._shapes, like)
        states = adam_states(checkpoint, self._shapes, like)
        if any(state.decay for state in states.values()):
            weights = recorded_weights(checkpoint, self._shapes, like)
            for name, state in states.items():
                gradient[name] = gradient[name] + state.decay * weights[name]
        return {name: state.derivative(gradient[name]) for name, state in states.items()}
