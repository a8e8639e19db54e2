"""A borrowed model at one checkpoint after another, and the batches that are captured there."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from headwater.capture import PlanChanged, cuts_into_examples
from headwater.capture.borrowed import evaluate
from headwater.engine.batch_size import fitting_batch_size
from headwater.engine.checked import CheckedCapture
from headwater.engine.deal import Deal
from headwater.engine.noted import noted_batch
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import nn

    from headwater.capture import Capture
    from headwater.checkpoints import LoadedCheckpoint
    from headwater.distributed import Together, Turns
    from headwater.engine.spans import Numbered
    from headwater.engine.training_data import TrainingData
    from headwater.forms import Gradients
    from headwater.tasks import Task

# Examples on which the size of a batch is measured.
_SAMPLE = 4
# Of the first batch, the examples that are held against autograd, where they can be cut out of it.
_SETTLED_ON = 64


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

    Attributes:
        checked: captures, checks and projects batches at present weights.
        batch_size: examples per batch of a Dataset, once `begin` was called.
        task: what is differentiated for a training example.
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
    ) -> None:
        self.checked = CheckedCapture(capture, projection, kind=kind)
        self.batch_size = 0
        self._model = model
        self._capture = capture
        self._data = data
        self.task = task
        self._budget = budget
        self._kind = kind
        self._ranks = ranks
        self._device = next(model.parameters()).device

    def next(self, visits: Iterator[LoadedCheckpoint]) -> LoadedCheckpoint | None:
        """The next checkpoint, in the model now; None after the last."""
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
    ) -> Iterable[Numbered]:
        """All training batches, of a size that is settled now, with rules that fit them.

        Args:
            extra_numbers: numbers per example that are held beside what capturing takes.
            queries: from a batch size to a task and a batch of queries, or to None.
            batch_size: examples per batch; None chooses one that fits.
        """
        self.batch_size = batch_size or self._choose_batch_size(extra_numbers)
        if self._ranks is not None:
            # The first rank's: what it is by memory may differ.
            self.batch_size = self._ranks.agreed(self.batch_size)
        batches = self._numbered(self._data.batches(self.batch_size))
        head = next(batches, None)
        self._settle(head, None if queries is None else queries(self.batch_size))
        if self._ranks is not None:
            # All have settled by the same batch, so that all go by the same rules.
            return self.batches()
        return batches if head is None else chain([head], batches)

    def batches(self) -> Iterator[Numbered]:
        """The training batches, on the model's device, from the first; of ranks this one's."""
        if self._ranks is None:
            return self._numbered(self._data.batches(self.batch_size))
        return self.dealt(Deal(self._ranks.rank, self._ranks.size))

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
        with noted_batch(self._kind, 0):
            return fitting_batch_size(
                self.task,
                self._model,
                borrow(sample, self._device),
                extra_numbers=self._capture.fallback_numbers + extra_numbers,
                budget=self._budget,
            )

    def _settle(self, head: Numbered | None, queries: tuple[Task, Any] | None) -> None:
        """Lets rules that don't fit go to the fallback before anything is computed with them."""
        pending = [(self.task, head[1], self._kind)] if head is not None else []
        if queries is not None:
            pending.append((*queries, "query"))
        if head is not None:
            with noted_batch(self._kind, 0):
                self._capture.batches_can_be_cut = cuts_into_examples(
                    self.task, self._model, head[1], self._alone
                )
        while not all(self._agrees(*each) for each in pending):
            pass
        for task, batch, _ in pending[:1]:
            if not self._capture.seen_gradients:
                self._capture.refuse_detached(task, batch)

    def _agrees(self, task: Task, batch: Any, kind: str) -> bool:
        gradients = self._capture.gradients
        try:
            with noted_batch(kind, 0):
                captured = gradients(task, batch)
                size = captured.batch_size
                if self._capture.batches_can_be_cut and kind == self._kind and size > _SETTLED_ON:
                    batch = task.examples(batch, 0, _SETTLED_ON, size=size)
                    captured = captured.examples(0, _SETTLED_ON)
                self._capture.check(captured, task, batch, first=0, kind=kind)
        except PlanChanged:
            return False
        return True

    def _alone(self, place: int) -> Any | None:
        single = self._data.alone(place)
        return None if single is None else borrow(single, self._device)
