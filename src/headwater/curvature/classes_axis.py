"""Along which axis of the output the classes are, by what the loss is indifferent to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headwater.curvature.outputs import split
from headwater.errors import CurvatureError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from headwater.tasks import Task

# Of the largest number that a sum is of: beyond rounding in float32, and far below what is left of
# the gradient of a cross-entropy that is summed along another axis than its own.
_NOTHING = 1e-3
_NAMES = {1: "categorical", -1: "categorical-last"}


def refuse_other_axis(axis: int, task: Task, model: nn.Module, batch: Any) -> None:
    """Refuses a likelihood whose classes lie along another axis than the loss has them.

    A softmax stays as it is when a number is added to all of its logits, so that a loss's gradient
    adds up to zero over the classes. Where it does over the other axis, and not over this one, the
    axes were mistaken for one another: in outputs (B, positions, classes) with as many positions
    as classes no shape would tell.

    Args:
        axis: of the likelihood's classes: 1 or -1.
        task, model: whose loss it is; the model is borrowed.
        batch: some examples.

    Raises:
        CurvatureError: the classes are along the other axis.
    """
    parts = split(task, model, batch)
    if parts.outputs.dim() < 3 or not parts.losses.requires_grad:
        return
    (gradient,) = torch.autograd.grad(parts.losses.sum(), parts.cut)
    if not _adds_up_to_nothing(gradient, axis) and _adds_up_to_nothing(gradient, -axis):
        raise CurvatureError(
            f"likelihood={_NAMES[axis]!r} has its classes along axis {axis} of the output, whose "
            f"shape is {tuple(gradient.shape)}, but the loss takes them from axis {-axis}: it "
            f"stays the same when a number is added to all logits there. Pass "
            f"likelihood={_NAMES[-axis]!r}"
        )


def _adds_up_to_nothing(gradient: Tensor, axis: int) -> bool:
    largest = float(gradient.abs().amax())
    return float(gradient.sum(dim=axis).abs().amax()) <= _NOTHING * largest
