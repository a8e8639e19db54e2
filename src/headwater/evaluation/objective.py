"""The loss that training minimises and what is measured of queries, for models by the hundred.

The tasks look into values to find out whether a loss is what it claims to be, which a model in a
stack of models can't be asked. So their losses are taken here without the looks, after one look.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from headwater.errors import InputError, LossError
from headwater.tasks import LossTask, Task
from headwater.tasks.loss import split_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float


class Objective:
    """A loss per example.

    Args:
        loss_fn: `(predictions, targets) -> losses`, one per example. A Module of torch that reduces
            them to "sum" or "mean" is taken without that; of a sequence its sum or mean remains.
        task: in place of `loss_fn`, for batches that are no tuples.

    Attributes:
        loss_fn: the loss without reduction; None beside a task.
        task: the same as a task.

    Raises:
        InputError: both are given, or none, or one of the wrong kind.
    """

    def __init__(self, loss_fn: Callable[..., Any] | None, task: Task | None = None) -> None:
        if (loss_fn is None) == (task is None):
            raise InputError("retraining needs a loss: pass one of loss_fn and task")
        if loss_fn is not None and not callable(loss_fn):
            raise InputError(f"loss_fn is a {type(loss_fn).__name__}; expected a function")
        if task is not None and not isinstance(task, Task):
            raise InputError(f"task is a {type(task).__name__}; expected a headwater.Task")
        self._reduction = getattr(loss_fn, "reduction", "none")
        if self._reduction != "none":
            if not isinstance(loss_fn, nn.Module) or self._reduction not in ("sum", "mean"):
                raise LossError(
                    f"loss_fn.reduction is {self._reduction!r}; retraining needs a loss per "
                    f"example: expected reduction='none'"
                )
            loss_fn = copy.copy(loss_fn)
            loss_fn.reduction = "none"  # type: ignore[assignment]
        self.loss_fn = loss_fn
        self.task: Task = LossTask(loss_fn, reduction="none") if task is None else task  # type: ignore[arg-type]

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        """Each example's own loss, unchecked."""
        if self.loss_fn is None:
            return self.task.losses(model, batch)
        inputs, targets = split_batch(batch)
        return self._of_predictions(model(*inputs), targets)

    def checked(self, model: nn.Module, batch: Any, size: int) -> Float[Tensor, " B"]:
        """The same, after a look at their shape.

        Raises:
            LossError: it isn't one real number per example.
        """
        losses = self.losses(model, batch)
        if not isinstance(losses, Tensor) or losses.shape != (size,):
            came = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise LossError(
                f"the loss of a batch of {size} examples is {came}; expected one number per "
                f"example, shape ({size},). Use reduction='none' and sum over every other axis"
            )
        return losses

    def measured(self, model: nn.Module, batch: Any, size: int) -> dict[str, Float[Tensor, " B"]]:
        """What is measured of some queries: "loss", and of a classifier "margin" and "right".

        The margin of the right class y is log(p_y / (1 - p_y)); "right" is 1 where y has the
        highest score, and 0 elsewhere.
        """
        if self.loss_fn is None:
            return {"loss": self.checked(model, batch, size)}
        inputs, targets = split_batch(batch)
        predictions = model(*inputs)
        found = {"loss": self._of_predictions(predictions, targets)}
        if found["loss"].shape != (size,):
            self.checked(model, batch, size)
        if _are_classes(predictions, targets):
            right = predictions.gather(1, targets[:, None])[:, 0]
            mask = nn.functional.one_hot(targets, predictions.shape[1]).bool()
            others = predictions.masked_fill(mask, -torch.inf).logsumexp(dim=1)
            found["margin"] = right - others
            found["right"] = (predictions.argmax(dim=1) == targets).to(predictions.dtype)
        return found

    def _of_predictions(self, predictions: Any, targets: Any) -> Float[Tensor, " B"]:
        assert self.loss_fn is not None
        losses: Tensor = self.loss_fn(predictions, targets)
        if self._reduction == "none" or losses.dim() < 2:
            return losses
        flat = losses.flatten(1)
        return flat.mean(dim=1) if self._reduction == "mean" else flat.sum(dim=1)


def _are_classes(predictions: Any, targets: Any) -> bool:
    return (
        isinstance(predictions, Tensor)
        and isinstance(targets, Tensor)
        and predictions.dim() == 2
        and predictions.shape[1] > 1
        and targets.dim() == 1
        and targets.dtype == torch.int64
    )
