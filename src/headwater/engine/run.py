"""Checkpoints times batches: the loops, in the order that memory allows."""

from __future__ import annotations

import logging
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tqdm.auto import tqdm

from headwater.capture import Capture, PlanChanged, cuts_into_examples
from headwater.capture.borrowed import evaluate
from headwater.engine.batch_size import fitting_batch_size
from headwater.engine.checked import CheckedCapture
from headwater.engine.spans import Numbered, everything, spans_within
from headwater.engine.weights import Weights, weights_nbytes
from headwater.errors import CaptureError, InputError
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jaxtyping import Float
    from torch import Tensor, nn

    from headwater.checkpoints import CheckpointSeries, LoadedCheckpoint
    from headwater.engine.quantity import Quantity
    from headwater.engine.training_data import TrainingData
    from headwater.forms import Gradients
    from headwater.tasks import Task

logger = logging.getLogger("headwater")

# Queries captured at a time where nothing says how large a batch may be.
_SAMPLE = 4


class Sink(Protocol):
    """Takes finished columns, in order."""

    def add(self, start: int, block: Float[Tensor, "R B"]) -> None:
        """Takes the columns from `start` on."""


AnySink = TypeVar("AnySink", bound=Sink)


class Run:
    """One pass over all checkpoints and training examples, for one quantity.

    Three orders of the loops give the same numbers:

    resident
        every checkpoint's weights and queries stay in memory; training batches outermost, each
        read once and finished at once.
    checkpoints outermost
        each checkpoint is loaded once, and the training data read once per checkpoint; a number
        per row and example accumulates.
    spans
        for a `bounded` answer where even these numbers don't fit: a span of batches is held, all
        checkpoints go over it, it is handed on and forgotten.

    Args:
        model: the borrowed model.
        selection: the names of the parameters that count.
        series: the checkpoints.
        data: the training examples.
        task: what is differentiated for a training example.
        projection: what gradients go through before products; None leaves them exact.
        budget: bytes to be used beyond the model, one batch and the result.
        name: the estimator's name, for the progress bar.
        show_progress: whether there is one.
        kind: what the examples are called in messages.
    """

    def __init__(
        self,
        model: nn.Module,
        selection: tuple[str, ...],
        series: CheckpointSeries,
        data: TrainingData,
        task: Task,
        *,
        projection: Callable[[Gradients, int], Gradients] | None = None,
        budget: int,
        name: str,
        show_progress: bool,
        kind: str = "training example",
    ) -> None:
        self._model = model
        self._selection = selection
        self._series = series
        self._data = data
        self._task = task
        self._projection = projection
        self._budget = budget
        self._name = name
        self._show_progress = show_progress
        self._kind = kind
        self._device = next(model.parameters()).device
        self._batch_size = 0

    def stream(self, quantity: Quantity, sink: Callable[[], AnySink], *, bounded: bool) -> AnySink:
        """The sink, with every training example's column in it.

        Args:
            quantity: what is computed of each example.
            sink: makes an empty sink; called again if the run has to start anew.
            bounded: whether the sink forgets columns, so that memory must not grow with N.
        """
        capture = Capture(self._model, self._selection)
        while True:
            filled = sink()
            try:
                with capture.attached():
                    self._once(capture, quantity, filled, bounded=bounded)
                return filled
            except PlanChanged as change:
                # Rare: the first batch, which settles the plan, looked as if the rule fitted.
                if not self._series.replayable:
                    raise CaptureError(
                        f"the rule for {change} turned out not to fit after checkpoints from a "
                        f"generator were used up; pass them as a list"
                    ) from change
                logger.warning("starting anew: the rule for %s does not fit", change)

    def _once(self, capture: Capture, quantity: Quantity, sink: Sink, *, bounded: bool) -> None:
        checked = CheckedCapture(capture, self._projection, kind=self._kind)
        with closing(self._series.visit()) as visits:
            loaded = self._next(visits, capture, checked)
            assert loaded is not None, "a series yields at least one checkpoint"
            self._batch_size = self._choose_batch_size(capture, quantity)
            batches = self._batches()
            head = next(batches, None)
            self._settle(capture, quantity, head)
            remaining = batches if head is None else chain([head], batches)
            # Twice what is held: query batches are joined by copying them.
            row_bytes = 2 * quantity.row_bytes(checked, self._batch_size)
            if self._fits_resident(row_bytes * quantity.rows):
                self._resident(capture, checked, quantity, sink, loaded, visits, remaining)
            else:
                at_once = max(1, int(self._budget // 2 / max(1.0, row_bytes)))
                self._by_checkpoint(
                    capture,
                    checked,
                    quantity,
                    sink,
                    loaded,
                    visits,
                    remaining,
                    bounded=bounded,
                    at_once=at_once,
                )

    def _resident(
        self,
        capture: Capture,
        checked: CheckedCapture,
        quantity: Quantity,
        sink: Sink,
        loaded: LoadedCheckpoint | None,
        visits: Iterator[LoadedCheckpoint],
        batches: Iterable[Numbered],
    ) -> None:
        kept = []
        while loaded is not None:
            evaluator = quantity.prepare(checked, 0, quantity.rows, self._batch_size)
            kept.append((loaded, Weights(self._model), evaluator))
            loaded = self._next(visits, capture, checked)
        with self._progress(self._data.number_of_batches(self._batch_size)) as bar:
            for start, batch in batches:
                block: Tensor | None = None
                for checkpoint, weights, evaluator in kept:
                    if len(kept) > 1:
                        weights.install(self._model)
                    checked.checkpoint = checkpoint.index
                    factor = quantity.factor(checkpoint.rate)
                    columns = checked.columns(self._task, batch, start, factor, evaluator)
                    block = columns if block is None else block.add_(columns)
                assert block is not None
                sink.add(start, block)
                bar.update()

    def _by_checkpoint(
        self,
        capture: Capture,
        checked: CheckedCapture,
        quantity: Quantity,
        sink: Sink,
        loaded: LoadedCheckpoint | None,
        visits: Iterator[LoadedCheckpoint],
        batches: Iterable[Numbered],
        *,
        bounded: bool,
        at_once: int,
    ) -> None:
        # The accumulated numbers, and the span's batches, get a quarter of the budget each.
        share = self._budget // 4
        number_bytes = quantity.rows * 8
        count = self._data.count
        if not bounded or (count is not None and count * number_bytes <= share):
            spans = everything(batches, self._batches)
        elif not self._series.replayable:
            raise InputError(
                f"scores with {quantity.rows} queries don't fit the memory budget of "
                f"{self._budget} bytes at once, so checkpoints are needed several times, but they "
                f"come from a generator; pass a list, or raise memory_budget"
            )
        else:
            spans = spans_within(batches, share, number_bytes)
        with self._progress(self._total(quantity, at_once)) as bar:
            for span in spans:
                blocks: list[tuple[int, Tensor]] = []
                if loaded is None:
                    visits = self._series.visit()
                    loaded = self._next(visits, capture, checked)
                while loaded is not None:
                    for low in range(0, quantity.rows, at_once):
                        high = min(low + at_once, quantity.rows)
                        evaluator = quantity.prepare(checked, low, high, self._batch_size)
                        place = 0
                        for place, (start, batch) in enumerate(span(), start=1):
                            factor = quantity.factor(loaded.rate)
                            columns = checked.columns(self._task, batch, start, factor, evaluator)
                            if len(blocks) < place:
                                empty = columns.new_zeros(quantity.rows, columns.shape[1])
                                blocks.append((start, empty))
                            if blocks[place - 1][1].shape[1] != columns.shape[1]:
                                raise _changed_data(start)
                            blocks[place - 1][1][low:high] += columns
                            bar.update()
                        if place != len(blocks):
                            raise _changed_data(blocks[place][0])
                    loaded = self._next(visits, capture, checked)
                for start, block in blocks:
                    sink.add(start, block)

    def _next(
        self, visits: Iterator[LoadedCheckpoint], capture: Capture, checked: CheckedCapture
    ) -> LoadedCheckpoint | None:
        loaded = next(visits, None)
        if loaded is not None:
            checked.checkpoint = loaded.index
            evaluate(self._model)
            capture.weights_changed()
        return loaded

    def _choose_batch_size(self, capture: Capture, quantity: Quantity) -> int:
        settled = self._data.batch_size
        if settled is not None:
            return settled
        sample = self._data.sample(_SAMPLE)
        if sample is None:
            return 1
        sample = borrow(sample, self._device)
        return fitting_batch_size(
            self._task,
            self._model,
            sample,
            extra_numbers=capture.fallback_numbers + 2 * quantity.rows,
            budget=self._budget // 4,
        )

    def _settle(self, capture: Capture, quantity: Quantity, head: Numbered | None) -> None:
        """Lets rules that don't fit go to the fallback before anything is computed with them."""
        pending = [(self._task, head[1], self._kind)] if head is not None else []
        example = quantity.example_batch(self._batch_size)
        if example is not None:
            pending.append((*example, "query"))
        if head is not None:
            capture.batches_can_be_cut = cuts_into_examples(
                self._task, self._model, head[1], lambda place: self._alone(place)
            )
        while not all(self._agrees(capture, *each) for each in pending):
            pass
        for task, batch, _ in pending[:1]:
            capture.refuse_detached(task, batch)

    @staticmethod
    def _agrees(capture: Capture, task: Task, batch: Any, kind: str) -> bool:
        try:
            capture.check(capture.gradients(task, batch), task, batch, first=0, kind=kind)
        except PlanChanged:
            return False
        return True

    def _alone(self, place: int) -> Any | None:
        single = self._data.alone(place)
        return None if single is None else borrow(single, self._device)

    def _fits_resident(self, query_bytes: float) -> bool:
        count = self._series.count
        if count is None or not self._series.replayable:
            return False
        each = query_bytes + weights_nbytes(self._model)
        return count * each <= self._budget // 2

    def _batches(self) -> Iterator[Numbered]:
        start = 0
        for batch in self._data.batches(self._batch_size):
            size = self._task.size(batch)
            borrowed_batch = borrow(batch, self._device)
            yield start, borrowed_batch
            if size is None:
                size = self._task.summed(self._model, borrowed_batch).size
            start += size

    def _total(self, quantity: Quantity, at_once: int) -> int | None:
        batches = self._data.number_of_batches(self._batch_size)
        if batches is None or self._series.count is None:
            return None
        return batches * self._series.count * -(-quantity.rows // at_once)

    def _progress(self, total: int | None) -> Any:
        return tqdm(total=total, desc=self._name, unit="batch", disable=not self._show_progress)


def _changed_data(start: int) -> InputError:
    return InputError(
        f"the training data changed between passes: the batch at example {start} has another "
        f"size, or isn't there, at a later checkpoint; a dataset must yield the same examples "
        f"each time it is read"
    )
