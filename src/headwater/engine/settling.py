"""How a pass over training data begins: the size of its batches, and rules that fit them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headwater.capture import PlanChanged, cuts_into_examples
from headwater.engine.batch_size import Taken, taken_by_an_example
from headwater.engine.checked import LOOKED_AT
from headwater.engine.halving import too_large
from headwater.engine.noted import noted_batch, noted_queries
from headwater.engine.quantity import whole
from headwater.engine.settled import Asked, shapes_of
from headwater.errors import BatchError, OutOfMemoryError
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from torch import nn

    from headwater.capture import Capture
    from headwater.engine.checked import CheckedCapture
    from headwater.engine.quantity import Quantity
    from headwater.engine.settled import Settled
    from headwater.engine.training_data import TrainingData
    from headwater.tasks import Task

# Examples on which the size of a batch is measured.
_SAMPLE = 4


@dataclass
class _Beginning:
    """What rules are settled on: the first training examples, or queries.

    Attributes:
        smaller: its beginning, of so many examples, where all of it doesn't fit into memory.
        whole: the batch that it was cut out of, of which an error has to speak; None: it wasn't.
        training: of queries, training examples that they should look like.
    """

    task: Task
    batch: Any
    kind: str
    smaller: Callable[[int], Any]
    whole: Any = None
    training: Any = None

    def noted(self) -> AbstractContextManager[None]:
        """Within, exceptions get a note saying for which examples."""
        if self.kind == "query":
            return noted_queries(self.batch, self.training)
        return noted_batch(self.kind, 0)


class Settling:
    """Settles what a pass needs, but for what questions before it have settled.

    Args:
        model: the borrowed model.
        capture: attached to it.
        checked: captures and checks batches with it.
        data: the training examples.
        task: what is differentiated for a training example.
        budget: bytes that a batch may take at the most.
        kind: what the examples are called in messages.
        settled: what is known already; what is found out is added.

    Attributes:
        sample: how many queries to capture for a look at what they are like.
    """

    def __init__(
        self,
        model: nn.Module,
        capture: Capture,
        checked: CheckedCapture,
        data: TrainingData,
        task: Task,
        *,
        budget: int,
        kind: str,
        settled: Settled,
    ) -> None:
        self.sample = 0
        self._model = model
        self._capture = capture
        self._checked = checked
        self._data = data
        self._task = task
        self._budget = budget
        self._kind = kind
        self._settled = settled
        self._asked: Asked | None = None
        self._device = next(model.parameters()).device

    def batch_size(self, extra_numbers: int) -> int:
        """Examples per batch: the data's own, or as many as fit.

        Args:
            extra_numbers: numbers per example that are held beside what capturing takes.
        """
        size = self._data.batch_size
        if size is not None:
            return size
        sample = self._data.sample(_SAMPLE)
        if sample is None:
            return 1
        settled, shapes = self._settled, shapes_of(sample)
        if settled.taken is None or settled.sampled != shapes:
            settled.taken, settled.sampled = self._taken(sample), shapes
        return settled.taken.fitting(
            extra_numbers=self._capture.fallback_numbers + extra_numbers, budget=self._budget
        )

    def settle(
        self,
        head: Any | None,
        queries: Callable[[int], tuple[Task, Any] | None] | None,
        batch_size: int,
        *,
        only_once: bool,
    ) -> None:
        """Lets rules that don't fit go to the fallback before anything is computed with them.

        Args:
            head: the first training batch; None: there is none.
            queries: from a batch size to a task and a batch of queries, or to None.
            batch_size: examples per batch.
            only_once: whether nothing can start anew, so that rules are settled on a whole batch.
        """
        pending = []
        settled = self._settled
        known = head is not None and not only_once and settled.training == shapes_of(head)
        if known:
            self._capture.batches_can_be_cut = settled.may_be_cut
        elif head is not None:
            pending.append(self._looked_at(head, whole=only_once))
            settled.training = shapes_of(head)
            settled.may_be_cut = self._capture.batches_can_be_cut
        self.sample = batch_size
        asked = None if queries is None else queries(batch_size)
        if queries is not None and asked is not None:
            if self._checked.shows_in_few(asked[0], "query") and not only_once:
                self.sample = min(LOOKED_AT, batch_size)
                asked = queries(self.sample) or asked
            self._asked = settled.asked(*asked) if known else None
            if self._asked is None:
                pending.append(
                    _Beginning(
                        *asked,
                        "query",
                        lambda size: (queries(size) or asked)[1],
                        training=head,
                    )
                )
                self._asked = Asked(asked[0], shapes_of(asked[1]))
                settled.queries.append(self._asked)
        while not all(self._agrees(each) for each in pending):
            pass
        for beginning in pending[:1]:
            self._capture.refuse_detached(beginning.task, beginning.batch)

    def row_bytes(self, quantity: Quantity) -> float:
        """What is held of each row of a quantity whose queries rules were settled on."""
        if self._asked is None:
            return quantity.row_bytes(self._checked, whole, self.sample)
        by_rows, key = self._asked.row_bytes, (type(quantity), quantity.rows)
        if key not in by_rows:
            by_rows[key] = quantity.row_bytes(self._checked, whole, self.sample)
        return by_rows[key]

    def _taken(self, sample: Any) -> Taken:
        def taken(batch: Any) -> Taken:
            while True:
                with suppress(PlanChanged):
                    return taken_by_an_example(
                        self._task,
                        self._model,
                        batch,
                        within=self._capture.trying(self._task.size(batch)),
                    )

        def fewer(count: int) -> Any:
            return borrow(self._data.sample(count), self._device)

        with noted_batch(self._kind, 0):
            _, found = self._checked.halving.beginning(
                taken, fewer, self._task, borrow(sample, self._device), kind=self._kind
            )
        return found

    def _looked_at(self, head: Any, *, whole: bool) -> _Beginning:
        """A few examples, if the first batch can be cut, which is looked at; else all of it."""
        task, size = self._task, self._task.size(head)

        def beginning(count: int) -> Any:
            assert size is not None, "of an unknown size nothing is halved"
            return task.examples(head, 0, count, size=size)

        def can_be_cut(batch: Any) -> bool:
            count = task.size(batch)
            if count == size:
                return cuts_into_examples(task, self._model, batch, self._alone)
            # It had to be cut before it was known whether it can be.
            if task.summed(self._model, batch).size != count:
                return False
            return count == 1 or cuts_into_examples(task, self._model, batch, self._alone)

        with noted_batch(self._kind, 0):
            try:
                batch, found = self._checked.halving.beginning(
                    can_be_cut, beginning, task, head, kind=self._kind
                )
            except OutOfMemoryError as error:
                if size == 1 or not self._fits_alone():
                    raise
                # Cutting made no smaller batches of this one.
                raise too_large(str(error.__cause__), None, first=0, kind=self._kind) from error
        if not found and batch is not head:
            raise too_large("the first batch", None, first=0, kind=self._kind)
        self._capture.batches_can_be_cut = found
        if not found or whole or (task.size(batch) or 0) <= LOOKED_AT:
            return _Beginning(task, batch, self._kind, beginning)
        return _Beginning(task, beginning(LOOKED_AT), self._kind, beginning, whole=batch)

    def _agrees(self, beginning: _Beginning) -> bool:
        task, kind = beginning.task, beginning.kind

        def check(batch: Any) -> None:
            try:
                captured = self._capture.gradients(task, batch)
            except BatchError:
                if beginning.whole is not None:
                    self._capture.gradients(task, beginning.whole)
                raise
            self._capture.check(captured, task, batch, first=0, kind=kind)
            self._checked.settled_on(captured.batch_size, kind)

        try:
            with beginning.noted():
                beginning.batch, _ = self._checked.halving.beginning(
                    check, beginning.smaller, task, beginning.batch, kind=kind
                )
        except PlanChanged:
            return False
        return True

    def _fits_alone(self) -> bool:
        single = self._alone(0)
        try:
            return single is not None and self._task.summed(self._model, single).size == 1
        except Exception:
            # Whatever is wrong with it: then the error that came first is the one to see.
            return False

    def _alone(self, place: int) -> Any | None:
        single = self._data.alone(place)
        return None if single is None else borrow(single, self._device)
