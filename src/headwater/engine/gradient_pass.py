"""The gradients themselves, batch by batch, for a store to keep."""

from __future__ import annotations

from contextlib import closing, contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from headwater.distributed import is_sharded
from headwater.engine.deal import Deal
from headwater.engine.dealing import Dealing, DealingInStep
from headwater.engine.heap import freed_blocks_kept
from headwater.engine.session import Session
from headwater.engine.visiting import Visiting
from headwater.engine.weights import weights_nbytes
from headwater.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import nn

    from headwater.capture import Capture
    from headwater.checkpoints import BoundSeries
    from headwater.distributed import Together
    from headwater.engine.spans import Numbered
    from headwater.engine.training_data import TrainingData
    from headwater.engine.visiting import Recorded
    from headwater.forms import Gradients
    from headwater.tasks import Task


def refuse_generator(series: BoundSeries) -> None:
    """Raises InputError for checkpoints that can be visited only once."""
    if not series.replayable or series.count is None:
        raise InputError(
            "the checkpoints come from a generator, but a store visits them again with every "
            "query; pass a list"
        )


class GradientPass:
    """One pass over the training examples that hands on their gradients.

    Args:
        model: the borrowed model.
        capture: its gradients; a pass that had to be begun anew goes on with what it knows.
        series: the checkpoints.
        data: the training examples.
        task: what is differentiated.
        projection: what gradients go through; None leaves them exact.
        budget: bytes to be used beyond the model and one batch.
        extra_numbers: numbers per example that are held beside what capturing takes.
        kind: what the examples are called in messages.
    """

    def __init__(
        self,
        model: nn.Module,
        capture: Capture,
        series: BoundSeries,
        data: TrainingData,
        task: Task,
        *,
        projection: Callable[[Gradients, int], Gradients] | None,
        budget: int,
        extra_numbers: int = 0,
        kind: str = "training example",
    ) -> None:
        refuse_generator(series)
        self._model = model
        self._capture = capture
        self._series = series
        self._data = data
        self._task = task
        self._projection = projection
        self._budget = budget
        self._extra_numbers = extra_numbers
        self._kind = kind

    @contextmanager
    def begun(
        self, *, batch_size: int | None, skip: int, in_step: Together | None = None
    ) -> Iterator[tuple[int, Iterator[Recorded]]]:
        """Within, the batches from number `skip` on, and how many examples are in one.

        Args:
            batch_size: examples per batch of a Dataset; None chooses one that fits.
            skip: how many batches are read and not computed.
            in_step: the ranks that share a sharded model's weights, all of which compute all.
        """
        with self._session(batch_size, in_step=in_step) as (session, visiting, _):
            batches = islice(session.batches(), skip, None)
            yield session.batch_size, (visiting(start, batch) for start, batch in batches)

    @contextmanager
    def dealt(
        self,
        *,
        batch_size: int | None,
        together: Together,
        keep: Callable[[Recorded], list[Gradients]],
    ) -> Iterator[Dealing]:
        """Within, the pass of a rank, whose share of the batches isn't settled yet.

        Args:
            batch_size: as for `begun`; the first rank's holds for all.
            together: the ranks.
            keep: makes what is handed on of a batch.
        """
        several = None if together.size == 1 else together
        if several is not None and is_sharded(self._model):
            with self._session(batch_size, in_step=several) as (session, visiting, batches):
                yield DealingInStep(session, visiting, batches, keep)
        else:
            with self._session(batch_size, ranks=several) as (session, visiting, batches):
                begun = batches if several is None else session.dealt(Deal())
                yield Dealing(session, visiting, begun, keep)

    @contextmanager
    def _session(
        self,
        batch_size: int | None,
        *,
        ranks: Together | None = None,
        in_step: Together | None = None,
    ) -> Iterator[tuple[Session, Visiting, Iterable[Numbered]]]:
        assert self._series.count is not None, "of a generator nothing is begun"
        budget, weights = self._budget, weights_nbytes(self._model)
        if in_step is not None:
            # What follows from them has to be the same on ranks that share weights.
            budgets, parts = zip(*in_step.told((budget, weights)), strict=True)
            budget, weights = min(budgets), max(parts)
        session = Session(
            self._model,
            self._capture,
            self._data,
            self._task,
            projection=self._projection,
            budget=budget // 4,
            kind=self._kind,
            ranks=ranks,
            in_step=in_step,
        )
        visiting = Visiting(
            self._model,
            self._series,
            session,
            is_resident=self._series.count * weights <= budget // 2,
            kind=self._kind,
        )
        kept = freed_blocks_kept()
        with kept, self._capture.attached(), closing(self._series.visit()) as visits:
            session.next(visits)
            batches = session.begin(extra_numbers=self._extra_numbers, batch_size=batch_size)
            yield session, visiting, batches
