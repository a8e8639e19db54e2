"""A borrowed model at one checkpoint after another, and the batches that are captured there."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from headwater.capture.borrowed import evaluate
from headwater.distributed import reshard
from headwater.engine.checked import CheckedCapture
from headwater.engine.deal import Deal
from headwater.engine.fingerprint import data_fingerprint
from headwater.engine.noted import noted_batch
from headwater.engine.settled import Settled
from headwater.engine.settling import Settling
from headwater.engine.spans import after
from headwater.errors import InputError
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import nn

    from headwater.capture import Capture
    from headwater.checkpoints import LoadedCheckpoint
    from headwater.distributed import InStep, Together, Turns
    from headwater.engine.looks import Looks
    from headwater.engine.spans import Numbered
    from headwater.engine.training_data import TrainingData
    from headwater.forms import Gradients
    from headwater.tasks import Task


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
        settled: what questions before this one have settled; what this one does is added.

    Attributes:
        checked: captures, checks and projects batches at present weights.
        batch_size: examples per batch of a Dataset, once `begin` was called.
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
        settled: Settled | None = None,
    ) -> None:
        self.checked = CheckedCapture(capture, projection, task=task, kind=kind, looks=looks)
        self.batch_size = 0
        self._model = model
        self._capture = capture
        self._data = data
        self.task = task
        self._kind = kind
        self._ranks = ranks
        self._in_step = in_step
        self.rounds = 0
        self._device = next(model.parameters()).device
        self.settling = Settling(
            model,
            capture,
            self.checked,
            data,
            task,
            budget=budget,
            kind=kind,
            settled=Settled() if settled is None else settled,
        )

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
        self.batch_size = batch_size or self.settling.batch_size(extra_numbers)
        if self._ranks is not None:
            # The first rank's: what it is by memory may differ.
            self.batch_size = self._ranks.agreed(self.batch_size)
        batches = self._numbered(self._data.batches(self.batch_size))
        if self._in_step is not None:
            batches = self.read_by_all(batches)
        head = next(batches, None)
        if self._in_step is not None and head is not None:
            self._in_step.same({"the first batch's digest": data_fingerprint(None, [head[1]])})
        self.settling.settle(
            None if head is None else head[1], queries, self.batch_size, only_once=only_once
        )
        may_be_dealt = self._data.full_batches(self.batch_size) is not None
        if self._ranks is not None or (self._in_step is not None and may_be_dealt):
            # All have settled by the same batch, so that all go by the same rules.
            return self.batches()
        return batches if head is None else after(head, batches)

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
            del batch, borrowed_batch  # Not held while the next one is read.

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
