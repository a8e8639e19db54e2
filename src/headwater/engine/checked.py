"""Captured gradients that are checked on the way, and projected where that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headwater.capture.nonfinite import has_finite_sum, refuse_non_finite, refuse_overflow
from headwater.engine.halving import Halving
from headwater.engine.noted import noted_batch
from headwater.forms import Gradients, Rows, Summed

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from headwater.capture import Capture
    from headwater.engine.quantity import Evaluator
    from headwater.forms.input_products import InputProducts
    from headwater.tasks import Task


# Examples of a later batch that are held against autograd.
_LOOKED_AT = 8


class CheckedCapture:
    """Captures batches, holds them against autograd at doubling distance, and projects them.

    Args:
        capture: captures.
        projection: `(gradients, checkpoint's place) -> gradients`, or None.
        kind: what the examples are called in messages.

    Attributes:
        checkpoint: the place of the checkpoint whose weights the model has.
        halving: knows how many examples at a time fit into memory.
    """

    def __init__(
        self,
        capture: Capture,
        projection: Callable[[Gradients, int], Gradients] | None,
        *,
        kind: str,
    ) -> None:
        self.checkpoint = 0
        self.halving = Halving()
        self._capture = capture
        self._projection = projection
        self._kind = kind
        self._captured = 0
        self._next_check = 2

    def __call__(
        self,
        task: Task,
        batch: Any,
        *,
        first: int,
        kind: str,
        may_be_cut: bool | None = None,
    ) -> Gradients:
        """The gradients of a batch that is small enough to look at every number.

        Args:
            first: the index of the batch's first example.
            kind: what the examples are called in messages.
            may_be_cut: whether the batch may go through the model in parts, if it doesn't fit into
                memory; None: where it is known of training batches that they may.
        """

        def compute(part: Any, first: int) -> Gradients:
            gradients = self._exact(task, part, first=first, kind=kind)
            refuse_non_finite(gradients, first=first, kind=kind)
            return self._projected(gradients)

        if may_be_cut is None:
            may_be_cut = self._capture.batches_can_be_cut and kind == self._kind
        return Gradients.cat(
            self.halving.parts(compute, task, batch, first=first, kind=kind, may_be_cut=may_be_cut)
        )

    def _projected(self, gradients: Gradients) -> Gradients:
        if self._projection is None:
            return gradients
        return self._projection(gradients, self.checkpoint)

    def _exact(self, task: Task, batch: Any, *, first: int, kind: str) -> Gradients:
        with noted_batch(kind, first):
            return self._held_against_autograd(task, batch, first=first, kind=kind)

    def _held_against_autograd(self, task: Task, batch: Any, *, first: int, kind: str) -> Gradients:
        gradients = self._capture.gradients(task, batch)
        self._captured += 1
        if self._captured >= self._next_check:
            self._next_check *= 2
            start, stop = self._looked_at(gradients.batch_size, kind)
            if stop - start < gradients.batch_size:
                part = task.examples(batch, start, stop, size=gradients.batch_size)
                some = gradients.examples(start, stop)
                self._capture.check(some, task, part, first=first + start, kind=kind)
            else:
                self._capture.check(gradients, task, batch, first=first, kind=kind)
        return gradients

    def _looked_at(self, size: int, kind: str) -> tuple[int, int]:
        """The examples of a batch that are held against autograd.

        All of them where examples can't be taken out of their batch; else a few, at another place
        in every batch, in a batch of their own: a gradient that is credited to the wrong example,
        or depends on the others, shows in few as in many.
        """
        if not self._capture.batches_can_be_cut or kind != self._kind or size <= _LOOKED_AT:
            return 0, size
        start = self._captured * 7919 % (size - _LOOKED_AT + 1)
        return start, start + _LOOKED_AT

    def columns(
        self,
        task: Task,
        batch: Any,
        start: int,
        factor: float,
        evaluator: Evaluator,
        products: InputProducts | None = None,
    ) -> Tensor:
        """A batch's numbers, times `factor`.

        Args:
            start: the index of the batch's first example.
            products: of inputs, known from other checkpoints.
        """

        def compute(part: Any, first: int) -> Tensor:
            return self._columns(task, part, first, evaluator, products)

        found = self.halving.parts(
            compute,
            task,
            batch,
            first=start,
            kind=self._kind,
            may_be_cut=self._capture.batches_can_be_cut,
        )
        return (found[0] if len(found) == 1 else torch.cat(found, dim=1)).mul_(factor)

    def _columns(
        self,
        task: Task,
        batch: Any,
        start: int,
        evaluator: Evaluator,
        products: InputProducts | None,
    ) -> Tensor:
        gradients = self._exact(task, batch, first=start, kind=self._kind)
        with noted_batch(self._kind, start):
            columns = evaluator(self._projected(gradients), products)
        # A table's products skip the rows that aren't common, and what is not finite there.
        hidden = any(isinstance(form, (Rows, Summed)) for form in gradients.forms.values())
        if hidden or not has_finite_sum(columns):
            refuse_non_finite(gradients, first=start, kind=self._kind)
            if not bool(torch.isfinite(columns).all()):
                refuse_overflow(start, self._kind)
        return columns
