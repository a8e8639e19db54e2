"""Checkpoints times batches: the loops, in the order that memory allows."""

from __future__ import annotations

import logging
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from torch import Tensor
from tqdm.auto import tqdm

from headwater.capture import Capture, PlanChanged
from headwater.distributed import (
    Exchange,
    InStep,
    StartAnew,
    Together,
    is_sharded,
    lost_rank,
    present,
)
from headwater.engine.alike import digest_of_queries, refuse_other_checkpoints
from headwater.engine.looks import Looks
from headwater.engine.session import Session
from headwater.engine.spans import Numbered, changed_data, everything, spans_within
from headwater.engine.weights import Weights, named_tensors, weights_nbytes
from headwater.engine.work_plan import SomeLayers, WorkPlan, planned
from headwater.errors import CaptureError, InputError, RankError
from headwater.forms.shared_inputs import SharedInputs
from headwater.tasks.batch import leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jaxtyping import Float
    from torch import nn

    from headwater.checkpoints import BoundSeries, LoadedCheckpoint
    from headwater.distributed import Ranks
    from headwater.engine.quantity import Evaluator, Quantity
    from headwater.engine.training_data import TrainingData
    from headwater.forms import Gradients
    from headwater.tasks import Task

logger = logging.getLogger("headwater")


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
        per row and example accumulates. For data that lies in memory, too, where it holds less.
        Where not all queries fit, it is read once for as many as do; where not one does, once per
        group of layers, over which scores add up.
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
        series: BoundSeries,
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

    def stream(self, quantity: Quantity, sink: Callable[[], AnySink], *, bounded: bool) -> AnySink:
        """The sink, with every training example's column in it.

        Args:
            quantity: what is computed of each example.
            sink: makes an empty sink; called again if the run has to start anew.
            bounded: whether the sink forgets columns, so that memory must not grow with N.
        """
        capture = Capture(self._model, self._selection)
        ranks = present()
        # All ranks gather its parameters, and so go through the same batches in step.
        in_step = is_sharded(self._model)
        if ranks is not None:
            told = ranks.meet(self._facts(quantity))
            if in_step:
                # What follows from it has to be the same, too.
                self._budget = min(each["_budget"] for each in told)
        while True:
            filled = sink()
            try:
                with capture.attached():
                    if ranks is None:
                        self._once(capture, quantity, filled, bounded=bounded)
                    elif in_step:
                        together = InStep(ranks, filled)
                        with lost_rank(ranks):
                            self._once(
                                capture, quantity, together, bounded=bounded, in_step=together
                            )
                            together.finish()
                    else:
                        self._shared(ranks, capture, quantity, filled, bounded=bounded)
                refuse_other_checkpoints(ranks, self._series)
                return filled
            except PlanChanged as change:
                self._tell(ranks, capture)
                # Rare: the first batch, which settles the plan, looked as if the rule fitted.
                if not self._series.replayable:
                    raise CaptureError(
                        f"the rule for {change} turned out not to fit after checkpoints from a "
                        f"generator were used up; pass them as a list"
                    ) from change
                logger.warning("starting anew: the rule for %s does not fit", change)
            except StartAnew:
                self._tell(ranks, capture)

    @staticmethod
    def _tell(ranks: Ranks | None, capture: Capture) -> None:
        """Lets all ranks know what one has met: others may not look at what would show it."""
        if ranks is not None:
            for learned in ranks.gathered_object(capture.learned):
                capture.learn(learned)

    def _facts(self, quantity: Quantity) -> dict[str, Any]:
        """What has to be the same on every rank."""
        return {
            "the estimator": self._name,
            "what is computed": type(quantity).__name__,
            "the number of its rows": quantity.rows,
            "the number of training examples": self._data.count,
            "the number of checkpoints": self._series.count,
            "the selected parameters": self._selection,
            "whether the model is sharded": is_sharded(self._model),
            "_budget": self._budget,
            "the first queries' digest": digest_of_queries(quantity),
        }

    def _shared(
        self,
        ranks: Ranks,
        capture: Capture,
        quantity: Quantity,
        sink: Sink,
        *,
        bounded: bool,
    ) -> None:
        """The part of the batches that is this rank's; its sink gets all columns all the same."""
        exchange = Exchange(ranks, sink, quantity.rows)
        try:
            self._once(capture, quantity, exchange, bounded=bounded, ranks=exchange)
            exchange.finish()
        except PlanChanged:
            exchange.start_anew()
            raise
        except (RankError, StartAnew):
            raise
        except Exception as error:
            # Of an interruption the others learn by the end of this process: what comes out of the
            # midst of a turn can't take part in another one.
            exchange.fail(error)
            raise

    def _once(
        self,
        capture: Capture,
        quantity: Quantity,
        sink: Sink,
        *,
        bounded: bool,
        ranks: Exchange | None = None,
        in_step: InStep | None = None,
    ) -> None:
        session = self._session(capture, ranks, in_step)
        with closing(self._series.visit()) as visits:
            loaded = session.next(visits)
            assert loaded is not None, "a series yields at least one checkpoint"
            batches = session.begin(
                extra_numbers=2 * quantity.rows,
                queries=quantity.example_batch,
                only_once=not self._series.replayable,
            )
            plan = self._planned(session, quantity, ranks)
            plan.tell_of_many_passes()
            if in_step is not None and (
                plan.resident or not self._in_spans(quantity, bounded=bounded)
            ):
                session.deal_out(in_step)
            if plan.resident:
                self._resident(session, quantity, sink, loaded, visits, batches)
            else:
                self._by_checkpoint(
                    session, quantity, sink, loaded, visits, batches, bounded=bounded, plan=plan
                )

    def plan(self, quantity: Quantity) -> WorkPlan:
        """How the work of a quantity would be divided; captures a few examples, and no more."""
        capture = Capture(self._model, self._selection)
        with Together.sharing(self._model, self._facts(quantity)) as together:
            if together is not None:
                self._budget = min(together.told(self._budget))
            while True:
                session = self._session(capture, None, together)
                with (
                    suppress(PlanChanged),
                    capture.attached(),
                    closing(self._series.visit()) as visits,
                ):
                    session.next(visits)
                    session.begin(extra_numbers=2 * quantity.rows, queries=quantity.example_batch)
                    return self._planned(session, quantity)

    def _planned(
        self, session: Session, quantity: Quantity, ranks: Exchange | None = None
    ) -> WorkPlan:
        # Ranks tell one another of finished columns, the sooner the better.
        read_again = self._data.is_in_memory and ranks is None
        count = self._data.count
        return planned(
            session.checked,
            quantity,
            batch_size=session.batch_size,
            sample=session.sample,
            budget=self._budget,
            checkpoints=self._series.count if self._series.replayable else None,
            weights=weights_nbytes(self._model),
            shapes={name: p.shape for name, p in self._model.named_parameters()},
            accumulated=8 * quantity.rows * count if read_again and count is not None else None,
        )

    def _session(
        self, capture: Capture, ranks: Exchange | None = None, in_step: Together | None = None
    ) -> Session:
        return Session(
            self._model,
            capture,
            self._data,
            self._task,
            projection=self._projection,
            budget=self._budget // 4,
            kind=self._kind,
            ranks=ranks,
            in_step=in_step,
            looks=None if ranks is None else Looks(ranks.rank, ranks.size),
        )

    def _in_spans(self, quantity: Quantity, *, bounded: bool) -> bool:
        """Whether the numbers of all examples, which add up over checkpoints, don't fit."""
        count = self._data.count
        # They, and the span's batches, get a quarter of the budget each.
        return bounded and (count is None or count * quantity.rows * 8 > self._budget // 4)

    def _resident(
        self,
        session: Session,
        quantity: Quantity,
        sink: Sink,
        loaded: LoadedCheckpoint | None,
        visits: Iterator[LoadedCheckpoint],
        batches: Iterable[Numbered],
    ) -> None:
        checked = session.checked
        kept: list[tuple[LoadedCheckpoint, Weights | None, Evaluator]] = []
        while loaded is not None:
            evaluator = quantity.prepare(checked, 0, quantity.rows, session.batch_size)
            if kept:
                evaluator = quantity.alike(evaluator, kept[0][2])
            # The weights of a single checkpoint stay in the model.
            weights = None if self._series.count == 1 else Weights(self._model)
            kept.append((loaded, weights, evaluator))
            loaded = session.next(visits)
        tensors = named_tensors(self._model)
        with self._progress(self._data.number_of_batches(session.batch_size)) as bar:
            for start, batch in batches:
                block: Tensor | None = None
                shared = SharedInputs(leaf for leaf in leaves(batch) if isinstance(leaf, Tensor))
                for checkpoint, weights, evaluator in kept:
                    if weights is not None:
                        weights.install(tensors)
                    checked.checkpoint = checkpoint.index
                    factor = quantity.factor(checkpoint.rate)
                    columns = checked.columns(self._task, batch, start, factor, evaluator, shared)
                    block = columns if block is None else block.add_(columns)
                assert block is not None
                sink.add(start, block)
                bar.update()

    def _by_checkpoint(
        self,
        session: Session,
        quantity: Quantity,
        sink: Sink,
        loaded: LoadedCheckpoint | None,
        visits: Iterator[LoadedCheckpoint],
        batches: Iterable[Numbered],
        *,
        bounded: bool,
        plan: WorkPlan,
    ) -> None:
        if not self._in_spans(quantity, bounded=bounded):
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
            (low, min(low + at_once, quantity.rows), SomeLayers(session.checked, plan.groups, n))
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
                    for low, high, capture in divided:
                        # The last one's queries aren't held beside the next one's.
                        evaluator = None
                        evaluator = quantity.prepare(capture, low, high, session.batch_size)
                        place = 0
                        for place, (start, batch) in enumerate(span(), start=1):
                            factor = quantity.factor(loaded.rate)
                            columns = session.checked.columns(
                                self._task, batch, start, factor, evaluator
                            )
                            if len(blocks) < place:
                                empty = columns.new_zeros(quantity.rows, columns.shape[1])
                                blocks.append((start, empty))
                            if blocks[place - 1][1].shape[1] != columns.shape[1]:
                                raise changed_data(start)
                            blocks[place - 1][1][low:high] += columns
                            bar.update()
                        if place != len(blocks):
                            raise changed_data(blocks[place][0])
                    loaded = session.next(visits)
                for start, block in blocks:
                    sink.add(start, block)

    def _total(self, batch_size: int, passes: int) -> int | None:
        batches = self._data.number_of_batches(batch_size)
        if batches is None or self._series.count is None:
            return None
        return batches * self._series.count * passes

    def _progress(self, total: int | None) -> Any:
        return tqdm(total=total, desc=self._name, unit="batch", disable=not self._show_progress)
