"""What training minimised: a batch's loss, made of its examples' own."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from headwater.errors import InputError, LossError
from headwater.tasks import LossTask, ModelOutput, Task
from headwater.tasks.batch import leading_size
from headwater.tasks.loss import declared_reduction, split_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

Reduction = Literal["mean", "sum"]


class Objective:
    """The loss of a batch as training took it, and the losses of its examples.

    Args:
        loss_fn: `(predictions, targets)`, the one that training called.
        task: in its place, for batches that are no tuples.
        reduction: how a batch's loss is made of its examples' losses; None leaves it to what
            `loss_fn.reduction` says, and is the mean where that says nothing.

    Raises:
        InputError: there is neither of the two, or both, or another reduction.
        LossError: `loss_fn.reduction` contradicts `reduction`.
    """

    def __init__(
        self,
        loss_fn: Callable[..., Any] | None,
        task: Task | None,
        reduction: Reduction | None,
    ) -> None:
        if (loss_fn is None) == (task is None):
            raise InputError(
                "expected the loss that training minimised: either loss_fn, or a task for batches "
                "that are no tuples (inputs..., targets)"
            )
        if reduction not in (None, "mean", "sum"):
            raise InputError(f"reduction is {reduction!r}; expected 'mean', 'sum' or None")
        declared = None if loss_fn is None else declared_reduction(loss_fn, batched=None)
        if reduction and declared not in (None, "none", reduction):
            raise LossError(
                f"loss_fn.reduction is {declared!r}, which contradicts reduction={reduction!r}"
            )
        self.loss_fn = loss_fn
        self.reduction: Reduction = reduction or ("sum" if declared == "sum" else "mean")
        self._declared = declared
        self._task = self._given = task
        self._per_example = None if loss_fn is None else _unreduced(loss_fn)

    def total(self, model: nn.Module, batch: Any) -> Float[Tensor, ""]:
        """The batch's loss, computed the way training did it, to the bit."""
        if self.loss_fn is not None and self._declared != "none":
            inputs, targets = split_batch(batch)
            reduced = self.loss_fn(model(*inputs), targets)
            if isinstance(reduced, Tensor) and not reduced.dim():
                return reduced
            if not isinstance(reduced, Tensor) or reduced.dim() != 1:
                came = tuple(reduced.shape) if isinstance(reduced, Tensor) else type(reduced)
                raise LossError(
                    f"loss_fn returned {came}; expected a scalar, or one loss per example"
                )
            self._declared = "none"
            losses = reduced
        else:
            losses = self._own_losses(model, batch)
        return losses.mean() if self.reduction == "mean" else losses.sum()

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        """Each example's own loss, of which the batch's is the mean or the sum.

        Raises:
            LossError: it isn't.
        """
        if self.loss_fn is None or self._declared == "none" or self._per_example is None:
            return self._own_losses(model, batch)
        inputs, targets = split_batch(batch)
        predictions = model(*inputs)
        losses = self._per_example(predictions, targets)
        if not isinstance(losses, Tensor) or losses.dim() != 1:
            self._per_example = None
            return self._own_losses(model, batch)
        # On every batch: class weights or targets that are left out may be in a later one only.
        with torch.no_grad():
            expected = self.loss_fn(predictions, targets)
            found = losses.mean() if self.reduction == "mean" else losses.sum()
            off = (found - expected).abs() > torch.finfo(found.dtype).eps ** 0.6 * expected.abs()
            if bool(off):
                raise LossError(
                    f"loss_fn returned {expected.item():.6g} for a batch of {len(losses)}, but "
                    f"the plain {self.reduction} of its examples' own losses is "
                    f"{found.item():.6g}: it is weighted by class, or leaves targets out, so "
                    f"that an example's share depends on its batch"
                )
        return losses

    def query_task(self, *, with_targets: bool) -> Task:
        """What is differentiated for a query: its own loss, or without targets the output."""
        if self._given is not None:
            return self._given
        if not with_targets:
            return ModelOutput()
        return _OwnLosses(self)

    def divisor(self, size: int) -> int:
        """What the sum of a batch's losses is divided by."""
        return size if self.reduction == "mean" else 1

    def _own_losses(self, model: nn.Module, batch: Any) -> Tensor:
        if self._task is None:
            assert self.loss_fn is not None
            kind: Any = self.reduction if self._declared is None else self._declared
            self._task = LossTask(self.loss_fn, reduction=kind)
        return self._task.own_losses(model, batch)


class _OwnLosses(Task):
    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def losses(self, model: nn.Module, batch: Any) -> Tensor:
        return self._objective.losses(model, batch)

    def size(self, batch: Any) -> int | None:
        inputs, targets = split_batch(batch)
        return leading_size(inputs) if targets is None else leading_size(targets)


def _unreduced(loss_fn: Callable[..., Any]) -> Callable[..., Any] | None:
    """The same loss with one number per example, where it is of a kind that can say so."""
    if not isinstance(loss_fn, nn.Module) or not type(loss_fn).__module__.startswith("torch.nn."):
        return None
    if getattr(loss_fn, "reduction", None) not in ("mean", "sum"):
        return None
    unreduced: Any = copy.copy(loss_fn)
    unreduced.reduction = "none"
    return unreduced  # type: ignore[no-any-return]
