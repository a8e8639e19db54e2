"""The losses of a sample of the training examples: what no name of a loss or a model says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from headwater.tasks import Task

# Far above the rounding of another machine, thread count or batch size, far below what another
# activation or a smoothed label makes of a loss.
_TOLERANCE = 2e-3
# The steps in which float32 has the losses of a model that knows its examples by heart.
_ABSOLUTE = 1e-6


def sample_losses(task: Task, model: nn.Module, batches: Sequence[Any]) -> list[float | None]:
    """The losses of all examples in some batches, at present weights; None for one not finite.

    Works within `borrowed(model)`.
    """
    device = next(model.parameters()).device
    # With gradients on, as everywhere: a model may differentiate in its forward pass.
    found = [
        task.own_losses(model, borrow(batch, device)).detach().double().tolist()
        for batch in batches
    ]
    return [loss if math.isfinite(loss) else None for losses in found for loss in losses]


def tolerance_of(model: nn.Module) -> float:
    """How far losses may be apart, as a share of the largest, and be those of the same model."""
    kinds = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    return max([_TOLERANCE, *(4 * torch.finfo(kind).eps for kind in kinds)])


def different_loss(
    stored: Sequence[Sequence[float | None]],
    given: Sequence[Sequence[float | None]],
    *,
    tolerance: float,
) -> str | None:
    """Where two tables of losses, a row per checkpoint, differ the most; None where they agree."""
    if [len(row) for row in stored] != [len(row) for row in given]:
        return f"{_size(stored)} in the store and {_size(given)} here"
    pairs = [
        (index, old, new)
        for index, rows in enumerate(zip(stored, given, strict=True))
        for old, new in zip(*rows, strict=True)
    ]
    largest = max((abs(loss) for _, *both in pairs for loss in both if loss is not None), default=0)
    index, old, new = max(pairs, key=lambda pair: _apart(*pair[1:]), default=(0, 0.0, 0.0))
    if _apart(old, new) <= max(_ABSOLUTE, tolerance * largest):
        return None
    return f"most at checkpoint {index}: {_shown(old)} in the store and {_shown(new)} here"


def _apart(one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    return abs(one - other)


def _size(table: Sequence[Sequence[Any]]) -> str:
    count = sum(len(row) for row in table)
    losses = "loss" if count == 1 else "losses"
    return f"{count} {losses} at {len(table)} checkpoint{'' if len(table) == 1 else 's'}"


def _shown(loss: float | None) -> str:
    return "one that isn't finite" if loss is None else f"{loss:.6g}"
