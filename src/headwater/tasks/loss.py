"""A loss function on predictions and targets, as TracIn's constructors take it."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from headwater.distributed import is_sharded
from headwater.errors import BatchError, HeadwaterWarning, LossError
from headwater.tasks import batch as batches
from headwater.tasks.out_of_memory import ran_out_of_memory
from headwater.tasks.task import LossSum, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

Reduction = Literal["none", "sum", "mean"]

REMEDY = "pass a loss_fn with reduction='none' (and sample_wise_grads_per_batch=False)"


def split_batch(batch: Any) -> tuple[tuple[Any, ...], Any]:
    """A batch's model inputs and its targets: all but the last part, and the last.

    Raises:
        BatchError: the batch is no tuple or list of at least two.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise BatchError(
            f"a batch is {batches.describe(batch)}, but a tuple or list (inputs..., targets) is "
            f"expected, with model(*batch[:-1]) as predictions; for batches of another kind pass "
            f"task=, for example headwater.tasks.SequenceClassification()"
        )
    return tuple(batch[:-1]), batch[-1]


def declared_reduction(loss_fn: Callable[..., Any], *, batched: bool | None) -> Reduction | None:
    """What `loss_fn` returns, by its own `.reduction` held against the caller's flag.

    Args:
        loss_fn: the loss; its attribute `reduction` counts, on a function as on a Module.
        batched: the constructor's `sample_wise_grads_per_batch`; None where there is no such flag.

    Returns:
        None where neither says it, so that what the loss returns has to show it.

    Raises:
        LossError: the attribute contradicts the flag.
    """
    declared = getattr(loss_fn, "reduction", None)
    if declared is None:
        if not batched:
            return None if batched is None else "none"
        warnings.warn(
            "sample_wise_grads_per_batch=True, and loss_fn has no attribute `reduction`: it is "
            "assumed to return the sum of the batch's losses. Set loss_fn.reduction = 'sum' or "
            "'mean' to say which",
            HeadwaterWarning,
            stacklevel=4,
        )
        return "sum"
    # KLDivLoss's 'batchmean' is the mean of per-example sums, a mean over examples all the same.
    reduction = "mean" if declared == "batchmean" else declared
    if reduction not in ("none", "sum", "mean"):
        raise LossError(f"loss_fn.reduction is {declared!r}; expected 'none', 'sum' or 'mean'")
    if batched and reduction == "none":
        raise LossError(
            "loss_fn.reduction is 'none', which contradicts sample_wise_grads_per_batch=True: that "
            "flag expects a loss reduced by 'sum' or 'mean'. Set the flag to False (it is as fast)"
        )
    if batched is False and reduction != "none":
        raise LossError(
            f"loss_fn.reduction is {declared!r}, which contradicts "
            f"sample_wise_grads_per_batch=False, the default: it expects one loss per example. "
            f"Use reduction='none', or set the flag to True"
        )
    return reduction  # type: ignore[return-value]


class LossTask(Task):
    """`loss_fn(model(*batch[:-1]), batch[-1])`: per-example losses, or their plain sum or mean.

    Args:
        loss_fn: `(predictions, targets) -> losses`.
        reduction: what it returns; None finds out from the first batch of more than one example,
            taking a scalar for a sum, with a warning.
    """

    def __init__(self, loss_fn: Callable[..., Any], *, reduction: Reduction | None) -> None:
        self.loss_fn = loss_fn
        self.reduction = reduction

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        inputs, targets = split_batch(batch)
        predictions = model(*inputs)
        reduced: Tensor = self.loss_fn(predictions, targets)
        size = self._size(reduced, predictions, targets)
        if size == 1:
            return reduced.reshape(1)
        if self.reduction == "none":
            own = reduced.reshape(size)
            self._probe_some(own, predictions, targets, model, inputs)
            return own
        losses = self._told_apart(predictions, targets, size)
        self._probe_all(reduced, losses)
        return losses

    def summed(self, model: nn.Module, batch: Any) -> LossSum:
        inputs, targets = split_batch(batch)
        predictions = model(*inputs)
        self._refuse_known_weighted_means(targets)
        reduced: Tensor = self.loss_fn(predictions, targets)
        size = self._size(reduced, predictions, targets)
        if self.reduction == "none":
            return LossSum(reduced.sum(), size)
        return LossSum(reduced * size if self.reduction == "mean" else reduced, size)

    def size(self, batch: Any) -> int | None:
        inputs, targets = split_batch(batch)
        return batches.leading_size(inputs) if targets is None else batches.leading_size(targets)

    def _size(self, reduced: Any, predictions: Any, targets: Any) -> int:
        """The number of examples, after a look at what the loss returned."""
        size = batches.leading_size(targets)
        size = batches.leading_size(predictions) if size is None else size
        if isinstance(reduced, Tensor) and not reduced.is_floating_point():
            raise LossError(
                f"loss_fn returned numbers of type {reduced.dtype}; expected real floating-point "
                f"losses, which can be differentiated"
            )
        if size is None:
            raise LossError("neither targets nor predictions have an axis of examples")
        if self.reduction is None and size > 1 and isinstance(reduced, Tensor):
            self.reduction = self._shown_reduction(reduced)
        if self.reduction == "none":
            if not isinstance(reduced, Tensor) or not _is_one_per_example(reduced, size):
                raise LossError(
                    f"loss_fn returned {_came(reduced)} for a batch of {size}; expected one loss "
                    f"per example, shape ({size},). Use reduction='none' and sum over every other "
                    f"axis; for a loss that sums or averages the batch, TracInCP and its kin take "
                    f"sample_wise_grads_per_batch=True{_broadcast(reduced, predictions, targets)}"
                )
            return size
        if not isinstance(reduced, Tensor) or reduced.numel() != 1:
            kind = self.reduction or "sum or mean"
            raise LossError(
                f"loss_fn returned {_came(reduced)}; sample_wise_grads_per_batch=True expects a "
                f"scalar, the {kind} of the batch's losses. For per-example losses set it to False"
            )
        if batches.leading_size(predictions) != size:
            raise LossError(
                f"the predictions' first axis has length {batches.leading_size(predictions)} and "
                f"the targets' {size}, so a reduced loss can't be told apart by example; {REMEDY}"
            )
        return size

    @staticmethod
    def _shown_reduction(reduced: Tensor) -> Reduction:
        if reduced.dim():
            return "none"
        warnings.warn(
            "loss_fn returns a scalar and has no attribute `reduction`: it is assumed to be the "
            "sum of the batch's losses. Set loss_fn.reduction = 'sum' or 'mean' to say which",
            HeadwaterWarning,
            stacklevel=2,
        )
        return "sum"

    def _refuse_known_weighted_means(self, targets: Any) -> None:
        if self.reduction != "mean" or not isinstance(
            self.loss_fn, (nn.CrossEntropyLoss, nn.NLLLoss)
        ):
            return
        if self.loss_fn.weight is not None:
            raise LossError(
                f"loss_fn is a mean weighted by class, not the plain mean of per-example losses, "
                f"so the share of one example depends on its batch; {REMEDY}"
            )
        if isinstance(targets, Tensor) and not targets.is_floating_point():
            ignored = int((targets == self.loss_fn.ignore_index).sum())
            if ignored:
                raise LossError(
                    f"loss_fn averages over the targets that aren't ignored, and {ignored} here "
                    f"are (ignore_index={self.loss_fn.ignore_index}), so it isn't the plain mean "
                    f"of per-example losses; {REMEDY}, summed over tokens where there are any"
                )

    def _single(self, predictions: Any, targets: Any, index: int, size: int) -> Tensor:
        one = (
            batches.examples(part, index, index + 1, size=size) for part in (predictions, targets)
        )
        loss: Tensor = self.loss_fn(*one)
        return loss.reshape(())

    def _told_apart(self, predictions: Any, targets: Any, size: int) -> Float[Tensor, " B"]:
        """Each example's loss, by a loss that sums or averages."""
        try:
            return torch.stack([self._single(predictions, targets, i, size) for i in range(size)])
        except Exception as error:
            if ran_out_of_memory(error):
                raise
            raise LossError(
                f"loss_fn fails with the predictions and targets of a single example "
                f"({type(error).__name__}: {error}). A reduced loss is told apart by example along "
                f"the first axis of the predictions, here {batches.describe(predictions)}, and of "
                f"the targets; {REMEDY}"
            ) from error

    def _alone(
        self, model: nn.Module, inputs: tuple[Any, ...], targets: Any, index: int, size: int
    ) -> Tensor:
        """An example's loss by a pass of its own."""
        own_inputs, own_targets = self.known_columns.cut(
            (inputs, targets), index, index + 1, size=size
        )
        loss: Tensor = self.loss_fn(model(*own_inputs), own_targets)
        return loss.reshape(())

    def _probe_some(
        self,
        losses: Tensor,
        predictions: Any,
        targets: Any,
        model: nn.Module,
        inputs: tuple[Any, ...],
    ) -> None:
        """The first and last loss, recomputed alone: do they depend on the rest of the batch?

        Predictions whose examples don't lie along the first axis (a last hidden state, steps before
        examples, one row per token) can't be cut: where that says otherwise, or nothing, the model
        is asked with the example alone, if it takes that.
        """
        size = losses.shape[0]
        with torch.no_grad():
            for index in (0, size - 1):
                single = _tried(partial(self._single, predictions, targets, index, size))
                if single is not None and _agree(single, losses[index]):
                    continue
                # Ranks that share a model call it together, and only some may get here.
                if not is_sharded(model):
                    alone = _tried(partial(self._alone, model, inputs, targets, index, size))
                    single = single if alone is None else alone
                if single is not None and not _agree(single, losses[index]):
                    raise LossError(
                        f"loss_fn gives example {index} of a batch of {size} the loss "
                        f"{losses[index].item():.6g}, but {single.item():.6g} when it stands "
                        f"alone; an example's loss must not depend on its batch (divided by the "
                        f"batch size? normalised over the batch?)"
                    )

    def _probe_all(self, reduced: Tensor, losses: Tensor) -> None:
        with torch.no_grad():
            expected = losses.sum() if self.reduction == "sum" else losses.mean()
            if torch.isfinite(reduced) and not _close(reduced.reshape(()), expected):
                raise LossError(
                    f"loss_fn returned {reduced.item():.6g} for a batch of {losses.shape[0]}, but "
                    f"the plain {self.reduction} of its examples' own losses is "
                    f"{expected.item():.6g}: it is weighted (class weights, ignore_index, a mean "
                    f"over tokens), not a {self.reduction}, or of predictions whose first axis "
                    f"isn't that of examples; {REMEDY}, or say what it is by loss_fn.reduction"
                )


def _is_one_per_example(losses: Tensor, size: int) -> bool:
    """Whether the losses are as many as examples, along the first axis: (B,), or (B, 1) as well.

    A model with one output has the latter where nothing squeezes it.
    """
    return losses.dim() > 0 and losses.shape[0] == size == losses.numel()


def _broadcast(losses: Any, predictions: Any, targets: Any) -> str:
    """What to add to an error where predictions and targets were paired all with all."""
    if not all(isinstance(each, Tensor) for each in (losses, predictions, targets)):
        return ""
    if losses.numel() <= max(predictions.numel(), targets.numel()):
        return ""
    return (
        f". Predictions of shape {tuple(predictions.shape)} were broadcast against targets of "
        f"shape {tuple(targets.shape)}: give both the same shape"
    )


def _came(reduced: Any) -> str:
    if isinstance(reduced, Tensor):
        return f"shape {tuple(reduced.shape)}"
    return type(reduced).__name__


def _tried(compute: Callable[[], Tensor]) -> Tensor | None:
    """What is computed; None where that fails, as of predictions cut along the wrong axis."""
    try:
        return compute()
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        return None


def _agree(alone: Tensor, among: Tensor) -> bool:
    # What isn't finite is for the check of gradients to name.
    return not bool(torch.isfinite(among)) or _close(alone, among)


def _close(left: Tensor, right: Tensor) -> bool:
    tolerance = torch.finfo(right.dtype).eps ** 0.6
    return bool((left - right).abs() <= tolerance * torch.maximum(right.abs(), left.abs()))
