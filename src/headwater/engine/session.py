"""A borrowed model at one checkpoint after another, and the batches that are captured there."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from headwater.capture import PlanChanged, cuts_into_examples
from headwater.capture.borrowed import evaluate
from headwater.distributed import reshard
from headwater.engine.batch_size import fitting_batch_size
from headwater.engine.checked import LOOKED_AT, CheckedCapture
from headwater.engine.deal import Deal
from headwater.engine.fingerprint import data_fingerprint
from headwater.engine.halving import too_large
from headwater.engine.noted import noted_batch, noted_queries
from headwater.errors import BatchError, InputError, OutOfMemoryError
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from torch import nn

    from headwater.capture import Capture
    from headwater.checkpoints import LoadedCheckpoint
    from headwater.distributed import InStep, Together, Turns
    from headwater.engine.looks import Looks
    from headwater.engine.spans import Numbered
    from headwater.engine.training_data import TrainingData
    from headwater.forms import Gradients
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


class Session:
    """What a pass over training data needs besides its loops.

    Args:
        model: the borrowed model.
        capture: attached to it.
        data: the training examples.
        task: what is differentiated for a training example.
        projection: what gradients go through; None leaves them exact.
        budget: bytes that a batch may take at the most.
        kind: what the examples are called in messages.
        ranks: where the processes meet that the batches are dealt out to; None: this one alone.
        in_step: where they meet if the model is sharded over them; None: it isn't.
        looks: as for `CheckedCapture`.

    Attributes:
        checked: captures, checks and projects batches at present weights.
        batch_size: examples per batch of a Dataset, once `begin` was called.
        sample: how many queries to capture for a look at what they are like, likewise.
        task: what is differentiated for a training example.
        rounds: in how many rounds of one for each rank batches are dealt out of a sharded model;
            what is left every rank computes.
    """

    def __init__(
        self,
        model: nn.Module,
        capture: Capture,
        data: TrainingData,
        task: Task,
        *,
        projection: Callable[[Gradients, int], Gradients] | None,
        budget: int,
        kind: str,
        ranks: Turns | Together | None = None,
        in_step: Together | None = None,
        looks: Looks | None = None,
    ) -> None:
        self.checked = CheckedCapture(capture, projection, task=task, kind=kind, looks=looks)
        self.batch_size = 0
        self.sample = 0
        self._model = model
        self._capture = capture
        self._data = data
        self.task = task
        self._budget = budget
        self._kind = kind
        self._ranks = ranks
        self._in_step = in_step
        self.rounds = 0
        self._device = next(model.parameters()).device

    def next(self, visits: Iterator[LoadedCheckpoint]) -> LoadedCheckpoint | None:
        """The next checkpoint, in the model now; None after the last."""
        reshard(self._model)
        with nullcontext() if self._in_step is None else self._in_step.step():
            loaded = next(visits, None)
        if loaded is not None:
            self.checked.checkpoint = loaded.index
            evaluate(self._model)
            self._capture.weights_changed()
        return loaded

    def begin(
        self,
        *,
        extra_numbers: int,
        queries: Callable[[int], tuple[Task, Any] | None] | None = None,
        batch_size: int | None = None,
        only_once: bool = False,
    ) -> Iterable[Numbered]:
        """All training batches, of a size that is settled now, with rules that fit them.

        Rules are settled on a few examples; the first whole batch is looked at when it is computed,
        and a rule that doesn't fit there makes it all start anew.

        Args:
            extra_numbers: numbers per example that are held beside what capturing takes.
            queries: from a batch size to a task and a batch of queries, or to None.
            batch_size: examples per batch; None chooses one that fits.
            only_once: whether nothing can start anew, so that rules are settled on a whole batch.
        """
        # What a pass that was broken off may have left.
        self._capture.abreast = None
        if self._in_step is not None:
            self._in_step.same({"the batch size": self._data.batch_size})
        self.batch_size = batch_size or self._choose_batch_size(extra_numbers)
        if self._ranks is not None:
            # The first rank's: what it is by memory may differ.
            self.batch_size = self._ranks.agreed(self.batch_size)
        batches = self._numbered(self._data.batches(self.batch_size))
        if self._in_step is not None:
            batches = self.read_by_all(batches)
        head = next(batches, None)
        if self._in_step is not None and head is not None:
            self._in_step.same({"the first batch's digest": data_fingerprint(None, [head[1]])})
        self._settle(head, queries, only_once=only_once)
        may_be_dealt = self._data.full_batches(self.batch_size) is not None
        if self._ranks is not None or (self._in_step is not None and may_be_dealt):
            # All have settled by the same batch, so that all go by the same rules.
            return self.batches()
        return batches if head is None else chain([head], batches)

    def batches(self) -> Iterator[Numbered]:
        """The training batches, on the model's device, from the first; of ranks this one's."""
        if self._in_step is not None:
            return self._in_rounds(self._in_step)
        if self._ranks is None:
            return self._numbered(self._data.batches(self.batch_size))
        return self.dealt(Deal(self._ranks.rank, self._ranks.size))

    def deal_out(self, columns: InStep | None = None) -> None:
        """Has ranks that go through a sharded model go on with a batch each, where that can be.

        Args:
            columns: a sink, which has to know.
        """
        if self._in_step is not None:
            self.rounds = self.may_be_abreast() // self._in_step.size
        if columns is not None:
            columns.deal_out(self.rounds, self.batch_size)

    def is_dealt(self, start: int) -> bool:
        """Whether the batch at an example is one of those that ranks have one each of."""
        return self._in_step is not None and start < (
            self.rounds * self._in_step.size * self.batch_size
        )

    def may_be_abreast(self) -> int:
        """How many batches, from the first one on, a sharded model's ranks may have one each of."""
        full = self._data.full_batches(self.batch_size)
        return 0 if full is None or self._capture.fallback else full

    def abreast(self, own: Iterator[Numbered], rounds: int) -> Iterator[Numbered]:
        """A batch each for the ranks of a sharded model, round by round."""
        ranks = self._in_step
        assert ranks is not None, "a whole model's ranks don't wait for one another"
        for _ in range(rounds):
            with ranks.step():
                start, batch = next(own)
                self._refuse_other_size(batch, start)
            self._capture.abreast = ranks
            try:
                yield start, batch
            finally:
                self._capture.abreast = None

    def _in_rounds(self, ranks: Together) -> Iterator[Numbered]:
        """This rank's batches of whole rounds, then those that all ranks compute."""
        if self.rounds:
            own = self.dealt(Deal(ranks.rank, ranks.size))
            yield from self.abreast(own, self.rounds)
            left = self.dealt(Deal(first=self.rounds * ranks.size))
        else:
            left = self._numbered(self._data.batches(self.batch_size))
        yield from self.read_by_all(left)

    def read_by_all(self, batches: Iterator[Numbered]) -> Iterator[Numbered]:
        """Batches that every rank of a sharded model reads; what one can't is an error on all."""
        ranks = self._in_step
        assert ranks is not None, "a whole model's ranks don't wait for one another"
        while True:
            with ranks.step():
                found = next(batches, None)
            ranks.same({"whether there are further batches": found is not None})
            if found is None:
                return
            yield found

    def _refuse_other_size(self, batch: Any, start: int) -> None:
        size = self.task.size(batch)
        if size not in (None, self.batch_size):
            raise InputError(
                f"the batch at example {start} has {size} examples, not {self.batch_size}; of a "
                f"sharded model ranks have batches of one size, so let collate_fn keep all examples"
            )

    def dealt(self, deal: Deal) -> Iterator[Numbered]:
        """Those of a rank, on the model's device."""
        if self._data.is_read_whole:
            return self._picked(deal)
        found = self._data.dealt(self.batch_size, deal)
        return ((start, borrow(batch, self._device)) for start, batch in found)

    def _numbered(self, batches: Iterator[Any]) -> Iterator[Numbered]:
        """Batches with the place of their first example."""
        start = 0
        for batch in batches:
            size = self.task.size(batch)
            borrowed_batch = borrow(batch, self._device)
            yield start, borrowed_batch
            if size is None:
                with noted_batch(self._kind, start):
                    size = self.task.summed(self._model, borrowed_batch).size
            start += size

    def _picked(self, deal: Deal) -> Iterator[Numbered]:
        """A rank's batches out of all, where those of others are as large as its last."""
        start, last = 0, self.batch_size
        for number, batch in enumerate(self._data.batches(self.batch_size)):
            size = self.task.size(batch)
            if deal.has(number):
                borrowed_batch = borrow(batch, self._device)
                yield start, borrowed_batch
                if size is None:
                    with noted_batch(self._kind, start):
                        size = self.task.summed(self._model, borrowed_batch).size
                last = size
            start += last if size is None else size

    def _choose_batch_size(self, extra_numbers: int) -> int:
        settled = self._data.batch_size
        if settled is not None:
            return settled
        sample = self._data.sample(_SAMPLE)
        if sample is None:
            return 1

        def fitting(batch: Any) -> int:
            while True:
                with suppress(PlanChanged):
                    return fitting_batch_size(
                        self.task,
                        self._model,
                        batch,
                        extra_numbers=self._capture.fallback_numbers + extra_numbers,
                        budget=self._budget,
                        within=self._capture.trying(self.task.size(batch)),
                    )

        def fewer(count: int) -> Any:
            return borrow(self._data.sample(count), self._device)

        with noted_batch(self._kind, 0):
            _, size = self.checked.halving.beginning(
                fitting, fewer, self.task, borrow(sample, self._device), kind=self._kind
            )
        return size

    def _settle(
        self,
        head: Numbered | None,
        queries: Callable[[int], tuple[Task, Any] | None] | None,
        *,
        only_once: bool,
    ) -> None:
        """Lets rules that don't fit go to the fallback before anything is computed with them."""
        pending = [] if head is None else [self._looked_at(head[1], whole=only_once)]
        self.sample = self.batch_size
        asked = None if queries is None else queries(self.batch_size)
        if queries is not None and asked is not None:
            if self.checked.shows_in_few(asked[0], "query") and not only_once:
                self.sample = min(LOOKED_AT, self.batch_size)
                asked = queries(self.sample) or asked
            pending.append(
                _Beginning(
                    *asked,
                    "query",
                    lambda size: (queries(size) or asked)[1],
                    training=None if head is None else head[1],
                )
            )
        while not all(self._agrees(each) for each in pending):
            pass
        for beginning in pending[:1]:
            if not self._capture.seen_gradients:
                self._capture.refuse_detached(beginning.task, beginning.batch)

    def _looked_at(self, head: Any, *, whole: bool) -> _Beginning:
        """A few examples, if the first batch can be cut, which is looked at; else all of it."""
        task, size = self.task, self.task.size(head)

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
                batch, found = self.checked.halving.beginning(
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
            self.checked.settled_on(captured.batch_size, kind)

        try:
            with beginning.noted():
                beginning.batch, _ = self.checked.halving.beginning(
                    check, beginning.smaller, task, beginning.batch, kind=kind
                )
        except PlanChanged:
            return False
        return True

    def _fits_alone(self) -> bool:
        single = self._alone(0)
        try:
            return single is not None and self.task.summed(self._model, single).size == 1
        except Exception:
            # Whatever is wrong with it: then the error that came first is the one to see.
            return False

    def _alone(self, place: int) -> Any | None:
        single = self._data.alone(place)
        return None if single is None else borrow(single, self._device)
