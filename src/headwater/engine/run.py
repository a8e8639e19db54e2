"""One pass over checkpoints and training data, in one process or in several."""

from __future__ import annotations

import logging
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

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
from headwater.engine.alike import (
    digest_of_checkpoints,
    digest_of_queries,
    refuse_other_checkpoints,
)
from headwater.engine.heap import freed_blocks_kept
from headwater.engine.looks import Looks
from headwater.engine.loops import Loops
from headwater.engine.session import Session
from headwater.engine.settled import Remembered, Settled
from headwater.engine.weights import weights_nbytes
from headwater.engine.work_plan import WorkPlan, planned
from headwater.errors import CaptureError, RankError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from headwater.checkpoints import BoundSeries
    from headwater.distributed import Ranks
    from headwater.engine.quantity import Quantity
    from headwater.engine.sink import AnySink, Sink
    from headwater.engine.training_data import TrainingData
    from headwater.forms import Gradients
    from headwater.tasks import Task

logger = logging.getLogger("headwater")


class Run:
    """One pass over all checkpoints and training examples, for one quantity.

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
        remembered: what questions before this one have settled.
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
        remembered: Remembered | None = None,
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
        self._remembered = Remembered() if remembered is None else remembered

    def stream(self, quantity: Quantity, sink: Callable[[], AnySink], *, bounded: bool) -> AnySink:
        """The sink, with every training example's column in it.

        Args:
            quantity: what is computed of each example.
            sink: makes an empty sink; called again if the run has to start anew.
            bounded: whether the sink forgets columns, so that memory must not grow with N.
        """
        capture = Capture(self._model, self._selection)
        ranks = present()
        settled = self._remembered.of(self._model)
        # All ranks gather its parameters, and so go through the same batches in step.
        in_step = is_sharded(self._model)
        if ranks is not None:
            told = ranks.meet({**self._facts(quantity), "_settled": settled.compared})
            if in_step:
                # What follows from it has to be the same, too.
                self._budget = min(each["_budget"] for each in told)
            if any(each["_settled"] != settled.compared for each in told):
                settled = settled.anew()
        if settled.learned is not None:
            capture.learn(settled.learned)
        while True:
            filled = sink()
            try:
                with freed_blocks_kept(), capture.attached():
                    if ranks is None:
                        self._once(capture, quantity, filled, settled, bounded=bounded)
                    elif in_step:
                        together = InStep(ranks, filled)
                        with lost_rank(ranks):
                            self._once(
                                capture,
                                quantity,
                                together,
                                settled,
                                bounded=bounded,
                                in_step=together,
                            )
                            together.finish()
                        refuse_other_checkpoints(ranks, self._series)
                    else:
                        self._shared(ranks, capture, quantity, filled, settled, bounded=bounded)
                self._remembered.keep(settled, capture.learned)
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
            settled = settled.anew()

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
        settled: Settled,
        *,
        bounded: bool,
    ) -> None:
        """The part of the batches that is this rank's; its sink gets all columns all the same."""
        exchange = Exchange(ranks, sink, quantity.rows)
        # The first exchange of all tells how long a batch takes, at the price of waiting for it.
        exchange.batches_between = settled.exchanged_after.get(quantity.rows, 1)
        try:
            self._once(capture, quantity, exchange, settled, bounded=bounded, ranks=exchange)
            alike = exchange.finish_alike(digest_of_checkpoints(self._series))
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
        if not alike:
            refuse_other_checkpoints(ranks, self._series)
        settled.exchanged_after[quantity.rows] = exchange.batches_between

    def _once(
        self,
        capture: Capture,
        quantity: Quantity,
        sink: Sink,
        settled: Settled,
        *,
        bounded: bool,
        ranks: Exchange | None = None,
        in_step: InStep | None = None,
    ) -> None:
        session = self._session(capture, settled, ranks, in_step)
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
            loops = Loops(
                self._model,
                self._series,
                self._data,
                session,
                quantity,
                sink,
                budget=self._budget,
                bounded=bounded,
                progress=self._progress,
            )
            if in_step is not None and (plan.resident or not loops.in_spans):
                session.deal_out(in_step)
            loops.run(plan, loaded, visits, batches)

    def plan(self, quantity: Quantity) -> WorkPlan:
        """How the work of a quantity would be divided; captures a few examples, and no more."""
        capture = Capture(self._model, self._selection)
        with Together.sharing(self._model, self._facts(quantity)) as together:
            if together is not None:
                self._budget = min(together.told(self._budget))
            while True:
                session = self._session(capture, Settled(), in_step=together)
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
            sample=session.settling.sample,
            row_bytes=session.settling.row_bytes(quantity),
            budget=self._budget,
            checkpoints=self._series.count if self._series.replayable else None,
            weights=weights_nbytes(self._model),
            shapes={name: p.shape for name, p in self._model.named_parameters()},
            accumulated=8 * quantity.rows * count if read_again and count is not None else None,
        )

    def _session(
        self,
        capture: Capture,
        settled: Settled,
        ranks: Exchange | None = None,
        in_step: Together | None = None,
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
            settled=settled,
        )

    def _progress(self, total: int | None) -> Any:
        return tqdm(total=total, desc=self._name, unit="batch", disable=not self._show_progress)
