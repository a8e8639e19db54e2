"""Checkpoints times batches: the loops, in the order that memory allows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from headwater.engine.quantity import whole
from headwater.engine.spans import Numbered, changed_data, everything, spans_within
from headwater.engine.weights import Weights, named_tensors
from headwater.engine.work_plan import SomeLayers, WorkPlan
from headwater.errors import InputError
from headwater.forms.shared_inputs import SharedInputs
from headwater.tasks.batch import leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    from torch import nn

    from headwater.checkpoints import BoundSeries, LoadedCheckpoint
    from headwater.engine.quantity import Evaluator, Quantity
    from headwater.engine.session import Session
    from headwater.engine.sink import Sink
    from headwater.engine.training_data import TrainingData

    _Resident: TypeAlias = tuple[LoadedCheckpoint, Weights | None, Evaluator]


class Loops:
    """The loops over all checkpoints and training examples.

    Three orders of the loops give the same numbers:

    resident
        every checkpoint's weights and queries stay in memory; training batches outermost, each
        read once and finished at once.
    checkpoints outermost
        each checkpoint is loaded once, and the training data read once per checkpoint; a number
        per row and example accumulates. For data that lies in memory, too, where it holds less.
        Where not all queries fit, it is read once for as many as do; where not one does, once per
        group of layers, over which scores add up.
    spans
        for a `bounded` answer where even these numbers don't fit: a span of batches is held, all
        checkpoints go over it, it is handed on and forgotten.

    Args:
        model: the borrowed model.
        series: the checkpoints.
        data: the training examples.
        session: captures their batches.
        quantity: what is computed of each.
        sink: takes the columns.
        budget: bytes to be used beyond the model, one batch and the result.
        bounded: whether the sink forgets columns, so that memory must not grow with N.
        progress: makes a bar of so many batches, or of an unknown number.
    """

    def __init__(
        self,
        model: nn.Module,
        series: BoundSeries,
        data: TrainingData,
        session: Session,
        quantity: Quantity,
        sink: Sink,
        *,
        budget: int,
        bounded: bool,
        progress: Callable[[int | None], Any],
    ) -> None:
        self._model = model
        self._series = series
        self._data = data
        self._session = session
        self._quantity = quantity
        self._sink = sink
        self._budget = budget
        self._bounded = bounded
        self._progress = progress

    @property
    def in_spans(self) -> bool:
        """Whether the numbers of all examples, which add up over checkpoints, don't fit."""
        count = self._data.count
        # They, and the span's batches, get a quarter of the budget each.
        return self._bounded and (
            count is None or count * self._quantity.rows * 8 > self._budget // 4
        )

    def run(
        self,
        plan: WorkPlan,
        loaded: LoadedCheckpoint | None,
        visits: Iterator[LoadedCheckpoint],
        batches: Iterable[Numbered],
    ) -> None:
        """Goes through all of them.

        Args:
            plan: how the work is divided.
            loaded: the checkpoint whose weights the model has.
            visits: those after it.
            batches: all training batches, begun.
        """
        order = self._resident if plan.resident else partial(self._by_checkpoint, plan)
        order(loaded, visits, batches)

    def _resident(
        self,
        loaded: LoadedCheckpoint | None,
        visits: Iterator[LoadedCheckpoint],
        batches: Iterable[Numbered],
    ) -> None:
        session, quantity = self._session, self._quantity
        kept: list[_Resident] = []
        while loaded is not None:
            evaluator = quantity.prepare(
                session.checked, whole, 0, quantity.rows, session.batch_size
            )
            if kept:
                evaluator = quantity.alike(evaluator, kept[0][2])
            last = len(kept) + 1 == self._series.count
            # The weights of a single checkpoint stay in the model.
            weights = None if self._series.count == 1 else Weights(self._model, copied=not last)
            kept.append((loaded, weights, evaluator))
            loaded = session.next(visits)
        tensors = named_tensors(self._model)
        with self._progress(self._data.number_of_batches(session.batch_size)) as bar:
            for start, batch in batches:
                self._sink.add(start, self._block(kept, tensors, start, batch))
                del batch  # Not held while the next one is read.
                bar.update()

    def _block(
        self,
        kept: list[_Resident],
        tensors: list[tuple[str, Tensor]],
        start: int,
        batch: Any,
    ) -> Tensor:
        """A batch's numbers, summed over checkpoints."""
        checked, factor = self._session.checked, self._quantity.factor
        shared = SharedInputs(leaf for leaf in leaves(batch) if isinstance(leaf, Tensor))
        block: Tensor | None = None
        for checkpoint, weights, evaluator in kept:
            if weights is not None:
                weights.install(tensors)
            checked.checkpoint = checkpoint.index
            columns = checked.columns(self._session.task, batch, start, evaluator, shared)
            if block is None:
                block = columns.mul_(factor(checkpoint.rate))
            else:
                block.add_(columns, alpha=factor(checkpoint.rate))
            del columns  # Not held beside the next checkpoint's.
        assert block is not None, "a series yields at least one checkpoint"
        return block

    def _by_checkpoint(
        self,
        plan: WorkPlan,
        loaded: LoadedCheckpoint | None,
        visits: Iterator[LoadedCheckpoint],
        batches: Iterable[Numbered],
    ) -> None:
        session, quantity = self._session, self._quantity
        if not self.in_spans:
            spans = everything(batches, session.batches)
        elif not self._series.replayable:
            raise InputError(
                f"scores with {quantity.rows} queries don't fit the memory budget of "
                f"{self._budget} bytes at once, so checkpoints are needed several times, but they "
                f"come from a generator; pass a list, or raise memory_budget"
            )
        else:
            spans = spans_within(batches, self._budget // 4, quantity.rows * 8)
        at_once = plan.rows_at_once
        divided = [
            (low, min(low + at_once, quantity.rows), SomeLayers(plan.groups, n))
            for low in range(0, quantity.rows, at_once)
            for n in range(len(plan.groups))
        ]
        evaluator: Evaluator | None = None
        with self._progress(self._total(session.batch_size, plan.passes)) as bar:
            for span in spans:
                blocks: list[tuple[int, Tensor]] = []
                if loaded is None:
                    visits = self._series.visit()
                    loaded = session.next(visits)
                while loaded is not None:
                    for low, high, part in divided:
                        # The last one's queries aren't held beside the next one's.
                        evaluator = None
                        evaluator = quantity.prepare(
                            session.checked, part, low, high, session.batch_size
                        )
                        place = 0
                        for place, (start, batch) in enumerate(span(), start=1):
                            factor = quantity.factor(loaded.rate)
                            columns = session.checked.columns(session.task, batch, start, evaluator)
                            del batch  # Not held while the next one is read.
                            if len(blocks) < place:
                                empty = columns.new_zeros(quantity.rows, columns.shape[1])
                                blocks.append((start, empty))
                            if blocks[place - 1][1].shape[1] != columns.shape[1]:
                                raise changed_data(start)
                            blocks[place - 1][1][low:high].add_(columns, alpha=factor)
                            bar.update()
                        if place != len(blocks):
                            raise changed_data(blocks[place][0])
                    loaded = session.next(visits)
                for start, block in blocks:
                    self._sink.add(start, block)

    def _total(self, batch_size: int, passes: int) -> int | None:
        batches = self._data.number_of_batches(batch_size)
        if batches is None or self._series.count is None:
            return None
        return batches * self._series.count * passes
