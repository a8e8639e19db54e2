"""What Captum demands of a loss, and how a loss of its kind becomes a task."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from headwater.errors import CaptumArgumentError, CaptumLossError, HeadwaterWarning, InputError
from headwater.estimators.misplaced import refuse_misplaced_loss
from headwater.tasks import LossSum, LossTask, Task
from headwater.tasks import batch as batches
from headwater.tasks.loss import split_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float


def loss_task(loss_fn: Callable[..., Any], *, name: str, reduced: bool) -> LossTask:
    """The task of a loss that meets Captum's demand.

    Args:
        loss_fn: `(predictions, labels) -> losses`.
        name: the argument's.
        reduced: whether the demand is a sum or a mean over the batch, and not losses of examples.

    Raises:
        CaptumArgumentError: it can't be called, or is a class.
        CaptumLossError: `loss_fn.reduction` says that it doesn't meet the demand.
    """
    try:
        refuse_misplaced_loss(loss_fn)
    except InputError as error:
        raise CaptumArgumentError(*error.args) from error
    declared = getattr(loss_fn, "reduction", None)
    if not reduced:
        if declared not in (None, "none"):
            raise CaptumLossError(
                f"the reduction of {name} is {declared!r}, but with "
                f'sample_wise_grads_per_batch=False it must be "none": a loss per example'
            )
        return LossTask(_one_loss_each(loss_fn), reduction="none")
    if declared in ("sum", "mean"):
        return LossTask(loss_fn, reduction=declared)
    if declared is not None:
        raise CaptumLossError(
            f"the reduction of {name} is {declared!r}, but a loss that is reduced over the batch "
            f'is needed here (in TracInCP, by sample_wise_grads_per_batch=True): it must be "sum" '
            f'or "mean"'
        )
    warnings.warn(
        f"{name} has no attribute 'reduction', so a number that it returns for a batch is taken "
        f'for the *sum* of the examples\' losses; set {name}.reduction = "mean" if it is the mean',
        HeadwaterWarning,
        stacklevel=4,
    )
    return LossTask(_summed(loss_fn), reduction="sum")


def reduced_loss_tasks(
    loss_fn: Callable[..., Any] | None, test_loss_fn: Callable[..., Any] | None
) -> tuple[Task, Task]:
    """The tasks of training examples and of queries, for classes that know reduced losses only.

    Raises:
        CaptumArgumentError: there is no `loss_fn`.
        CaptumLossError: see `loss_task`.
    """
    if loss_fn is None:
        raise CaptumArgumentError(
            "loss_fn is None; the loss function must not be none here: pass "
            "torch.nn.CrossEntropyLoss(reduction='sum'), or whatever training minimised"
        )
    task = loss_task(loss_fn, name="loss_fn", reduced=True)
    if test_loss_fn is None:
        return task, task
    return task, loss_task(test_loss_fn, name="test_loss_fn", reduced=True)


def _one_loss_each(loss_fn: Callable[..., Any]) -> Callable[..., Any]:
    def one_loss_each(predictions: Any, labels: Any) -> Any:
        losses = loss_fn(predictions, labels)
        # Captum adds up what a loss returns per example, be it per token or per output.
        if isinstance(losses, Tensor) and losses.dim() > 1:
            return losses.flatten(1).sum(dim=1)
        return losses

    return one_loss_each


def _summed(loss_fn: Callable[..., Any]) -> Callable[..., Any]:
    def summed(predictions: Any, labels: Any) -> Any:
        losses = loss_fn(predictions, labels)
        return losses.sum() if isinstance(losses, Tensor) else losses

    return summed


class LossOrOutputs(Task):
    """A loss where a batch has labels, and the sum of an example's outputs where they are None.

    Args:
        loss: reads batches with labels; None never does.
    """

    def __init__(self, loss: LossTask | None) -> None:
        self._loss = loss

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        loss = self._loss_of(batch)
        return _outputs(model, batch) if loss is None else loss.losses(model, batch)

    def summed(self, model: nn.Module, batch: Any) -> LossSum:
        loss = self._loss_of(batch)
        return super().summed(model, batch) if loss is None else loss.summed(model, batch)

    def size(self, batch: Any) -> int | None:
        inputs, labels = split_batch(batch)
        size = batches.leading_size(labels)
        return batches.leading_size(inputs) if size is None else size

    def _loss_of(self, batch: Any) -> LossTask | None:
        return None if split_batch(batch)[1] is None else self._loss


def _outputs(model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
    output = model(*split_batch(batch)[0])
    if not isinstance(output, Tensor) or not output.dim():
        came = "a number" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise CaptumLossError(
            f"without a loss or labels the model's output itself is differentiated, and must be a "
            f"tensor of at least one dimension, the batch's; it is {came}"
        )
    return output.flatten(1).sum(dim=1) if output.dim() > 1 else output
