"""Captured gradients that are checked on the way, and projected where that was asked for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch

from headwater.capture.nonfinite import has_finite_sum, refuse_non_finite, refuse_overflow
from headwater.engine.halving import Halving
from headwater.engine.looks import Looks
from headwater.engine.noted import noted_batch
from headwater.engine.quantity import ExampleRefused
from headwater.forms import Gradients, Rows, Summed

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from headwater.capture import Capture
    from headwater.engine.quantity import Evaluator
    from headwater.forms.shared_inputs import SharedInputs
    from headwater.tasks import Task


# Examples that rules are settled on, where they can be cut out of a batch; and those of each batch
# that is held against autograd later on. The reference is a pass of its own, so that for large
# examples more would soon cost as much as the answer.
LOOKED_AT = 4
_LATER = 2


class CheckedCapture:
    """Captures batches, holds them against autograd at doubling distance, and projects them.

    Training batches and queries are counted apart: of either the first is looked at, and the
    second, the fourth and so on, any that has more examples than all before it, and any in which
    the model is seen to take rows in another order than the batch's, or to go through layers in
    another way than before.

    Args:
        capture: captures.
        projection: `(gradients, checkpoint's place) -> gradients`, or None.
        task: what is differentiated for a training example.
        kind: what the examples are called in messages.
        looks: which batches are held against autograd.

    Attributes:
        checkpoint: the place of the checkpoint whose weights the model has.
        halving: knows how many examples at a time fit into memory.
    """

    def __init__(
        self,
        capture: Capture,
        projection: Callable[[Gradients, int], Gradients] | None,
        *,
        task: Task,
        kind: str,
        looks: Looks | None = None,
    ) -> None:
        self.checkpoint = 0
        self._looks = looks or Looks()
        self.halving = Halving()
        self._capture = capture
        self._projection = projection
        self._task = task
        self._kind = kind
        self._captured: Counter[str] = Counter()
        self._settled: dict[str, int] = {}
        self._largest: dict[str, int] = {}

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
        if may_be_cut is None:
            may_be_cut = self._capture.batches_can_be_cut and kind == self._kind
        few = may_be_cut and self.shows_in_few(task, kind)
        # Ranks that go on in step with a batch each take as many passes.
        may_be_cut = may_be_cut and self._capture.abreast is None

        def compute(part: Any, first: int) -> Gradients:
            gradients = self._exact(task, part, first=first, kind=kind, few=few).widened()
            with self._capture.step():
                refuse_non_finite(gradients, first=first, kind=kind)
                return self._projected(gradients)

        return Gradients.cat(
            self.halving.parts(compute, task, batch, first=first, kind=kind, may_be_cut=may_be_cut)
        )

    def _projected(self, gradients: Gradients) -> Gradients:
        if self._projection is None:
            return gradients
        return self._projection(gradients, self.checkpoint)

    def settled_on(self, size: int, kind: str) -> None:
        """Takes note that as many examples have been held against autograd already."""
        self._settled[kind] = size

    def shows_in_few(self, task: Task, kind: str) -> bool:
        """Whether a few examples, cut out of a batch that may be cut, are what they are in it.

        Of training batches that is known; queries of the same task are made alike.
        """
        return self._capture.batches_can_be_cut and (kind == self._kind or task is self._task)

    def _exact(
        self,
        task: Task,
        batch: Any,
        *,
        first: int,
        kind: str,
        few: bool,
        shared: SharedInputs | None = None,
    ) -> Gradients:
        with noted_batch(kind, first):
            gradients = self._capture.gradients(task, batch, shared)
            self._captured[kind] += 1
            count = self._captured[kind]
            # Of several processes one has the batch that rules were settled on; those that go on in
            # step look at theirs all the same, since the others do.
            size, alone = gradients.batch_size, self._capture.abreast is None
            known = count == 1 and first == 0 and size <= self._settled.get(kind, 0) and alone
            # An order of axes that is right in a batch of one may be wrong in a larger one.
            grown = size > self._largest.get(kind, size) and alone
            self._largest[kind] = max(size, self._largest.get(kind, 0))
            # Rows in another order: whose a layer takes them for may differ in every batch, and
            # shows in some examples alone. Ranks in step would have to look at theirs all at once.
            doubts = self._capture.doubts.about_the_last_batch if alone else frozenset()
            if (self._looks.due(count) and not known) or grown or doubts:
                few = few and not doubts
                self._hold_against_autograd(gradients, task, batch, first=first, kind=kind, few=few)
                self._capture.doubts.allay(doubts)
        return gradients

    def _hold_against_autograd(
        self, gradients: Gradients, task: Task, batch: Any, *, first: int, kind: str, few: bool
    ) -> None:
        """All of a batch; or a few, at another place in every batch, in a batch of their own.

        A gradient that is credited to the wrong example, or depends on the others, shows in few as
        in many.
        """
        size = gradients.batch_size
        if few and size > _LATER:
            start = self._captured[kind] * 7919 % (size - _LATER + 1)
            stop = start + _LATER
            batch = task.examples(batch, start, stop, size=size)
            gradients, first = gradients.examples(start, stop), first + start
        self._capture.check(gradients, task, batch, first=first, kind=kind)
        # A question before this one has settled rules, and the losses may have lost their
        # gradient since then: zero is then what autograd says, too.
        self._capture.refuse_detached(task, batch)

    def columns(
        self,
        task: Task,
        batch: Any,
        start: int,
        evaluator: Evaluator,
        shared: SharedInputs | None = None,
    ) -> Tensor:
        """A batch's numbers.

        Args:
            start: the index of the batch's first example.
            shared: what checkpoints have in common of the batch.
        """

        def compute(part: Any, first: int) -> Tensor:
            return self._columns(task, part, first, evaluator, shared)

        found = self.halving.parts(
            compute,
            task,
            batch,
            first=start,
            kind=self._kind,
            # Ranks that go on in step with a batch each take as many passes.
            may_be_cut=self._capture.batches_can_be_cut and self._capture.abreast is None,
        )
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    def _columns(
        self,
        task: Task,
        batch: Any,
        start: int,
        evaluator: Evaluator,
        shared: SharedInputs | None,
    ) -> Tensor:
        few = self._capture.batches_can_be_cut
        gradients = self._exact(task, batch, first=start, kind=self._kind, few=few, shared=shared)
        with self._capture.step():
            with noted_batch(self._kind, start):
                met = self._projected(gradients)
                takes_reduced = getattr(evaluator, "takes_reduced", False)
                try:
                    columns = evaluator(met if takes_reduced else met.widened(), shared)
                except ExampleRefused as refused:
                    raise refused.named(self._kind, start) from None
            if not has_finite_sum(columns):
                refuse_non_finite(gradients, first=start, kind=self._kind)
                if not bool(torch.isfinite(columns).all()):
                    refuse_overflow(start, self._kind)
            if not getattr(evaluator, "sees_all", False):
                refuse_non_finite(_skipped_in_part(gradients), first=start, kind=self._kind)
        return columns


def _skipped_in_part(gradients: Gradients) -> Gradients:
    """Those of tables, whose products skip the rows that aren't common, and what is in them."""
    forms = {b: form for b, form in gradients.forms.items() if isinstance(form, (Rows, Summed))}
    return Gradients(forms, gradients.batch_size, gradients.like)
