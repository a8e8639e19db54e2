"""Losses that no gradient leads away from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

    from headwater.tasks import Task


def refuse_detached(model: nn.Module, parameters: Iterable[Tensor], task: Task, batch: Any) -> None:
    """Raises ModelError if a batch's losses depend on none of a model's parameters.

    Args:
        model: as it is asked.
        parameters: all of its parameters, whether they require grad or not.
        task: computes the losses.
        batch: of training examples.
    """
    before = [(parameter, parameter.requires_grad) for parameter in parameters]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(parameter.is_floating_point())
        if not task.summed(model, batch).total.requires_grad:
            raise ModelError(
                "the losses have no gradient: the forward pass or the loss runs under "
                "torch.no_grad(), detaches its output, or uses none of the model's parameters"
            )
    finally:
        for parameter, requires_grad in before:
            parameter.requires_grad_(requires_grad)
