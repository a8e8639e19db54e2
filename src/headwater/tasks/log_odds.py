"""The log-odds of the right answer, as what is differentiated in the place of a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwater.errors import BatchError
from headwater.tasks.huggingface.task import HuggingFaceTask
from headwater.tasks.loss import split_batch
from headwater.tasks.task import LossSum, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import nn


class LogOdds(Task):
    """f = log(p / (1 - p)), where p is the probability of an example's right answer.

    Without a task, of a classifier on batches (inputs..., targets): logits (B, K) and integer
    targets (B,), or a single logit per example, (B,) or (B, 1), and targets of 0 and 1. There
    f = z_y - log(sum over k != y of exp z_k), in which nothing cancels where p is near 1.

    Args:
        task: a task whose losses are negative log-likelihoods, L = -log p. Then
            f = -L - log(1 - exp(-L)), as exact as L itself.

    Attributes:
        noted: the log-odds of the batch that was last summed; None before.

    Source: Park et al. (2023), arXiv 2303.14186, section 3.1, the model output function.
    """

    def __init__(self, task: Task | None = None) -> None:
        self.task = task
        self.noted: Tensor | None = None

    @property
    def rounds_to(self) -> torch.dtype | None:
        return None if self.task is None else self.task.rounds_to

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        if self.task is None:
            inputs, targets = split_batch(batch)
            return _of_logits(model(*inputs), targets)
        losses = self.task.own_losses(model, batch)
        return -losses - torch.log(-torch.expm1(-losses))

    def summed(self, model: nn.Module, batch: Any) -> LossSum:
        # Here and not in `losses`, which is also called under vmap.
        self._refuse_odd_targets(batch)
        odds = self.own_losses(model, batch)
        self.noted = odds.detach()
        return LossSum(odds.sum(), odds.shape[0])

    def _refuse_odd_targets(self, batch: Any) -> None:
        if isinstance(self.task, HuggingFaceTask):
            self.task.refuse_unlabelled(batch)
        if self.task is None:
            _, targets = split_batch(batch)
            if isinstance(targets, Tensor) and targets.is_floating_point():
                odd = targets[(targets != 0) & (targets != 1)]
                if len(odd):
                    raise BatchError(
                        f"a target is {odd[0].item():g}; log-odds are those of a class: expected "
                        f"integers, or 0 and 1 for a model with a single logit"
                    )

    def collate(
        self, model: nn.Module, examples: list[Any], collate_fn: Callable[[list[Any]], Any] | None
    ) -> Any:
        if self.task is None:
            return super().collate(model, examples, collate_fn)
        return self.task.collate(model, examples, collate_fn)

    def stacks_rows(self) -> bool:
        return self.task is None or self.task.stacks_rows()

    def examples(self, batch: Any, start: int, stop: int, *, size: int) -> Any:
        if self.task is None:
            return super().examples(batch, start, stop, size=size)
        return self.task.examples(batch, start, stop, size=size)

    def size(self, batch: Any) -> int | None:
        if self.task is not None:
            return self.task.size(batch)
        # By its targets: of a single query, inputs without an axis of examples may have others.
        return super().size(split_batch(batch)[1])


def _of_logits(logits: Any, targets: Any) -> Float[Tensor, " B"]:
    if isinstance(logits, Tensor) and isinstance(targets, Tensor):
        several = logits.dim() == 2 and logits.shape[1] > 1
        if several and targets.shape == logits.shape[:1] and not targets.is_floating_point():
            place = targets[:, None].long()
            others = logits.scatter(1, place, float("-inf")).logsumexp(dim=1)
            return logits.gather(1, place)[:, 0] - others
        one = logits.shape[1:] in ((), (1,)) and targets.shape[1:] in ((), (1,))
        if one and logits.dim() and targets.shape[:1] == logits.shape[:1]:
            return logits.reshape(-1) * (2 * targets.reshape(-1).to(logits.dtype) - 1)
    came = " and ".join(
        f"{tuple(one.shape)} of {one.dtype}" if isinstance(one, Tensor) else type(one).__name__
        for one in (logits, targets)
    )
    raise BatchError(
        f"predictions and targets are {came}; log-odds are those of a classifier with logits "
        f"(B, K) and integer targets (B,), or a logit per example and targets of 0 and 1. For "
        f"another model pass task= or loss_fn= whose losses are negative log-likelihoods"
    )
