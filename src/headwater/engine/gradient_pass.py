"""The gradients themselves, batch by batch, for a store to keep."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from headwater.capture import Capture
from headwater.engine.deal import Deal
from headwater.engine.session import Session
from headwater.engine.weights import Weights, named_tensors, weights_nbytes
from headwater.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor, nn

    from headwater.checkpoints import BoundSeries
    from headwater.distributed import Together
    from headwater.engine.spans import Numbered
    from headwater.engine.training_data import TrainingData
    from headwater.forms import Gradients
    from headwater.tasks import Task


def refuse_generator(series: BoundSeries) -> None:
    """Raises InputError for checkpoints that can be visited only once."""
    if not series.replayable or series.count is None:
        raise InputError(
            "the checkpoints come from a generator, but a store visits them again with every "
            "query; pass a list"
        )


@dataclass(frozen=True)
class Recorded:
    """A batch's gradients at every checkpoint, in order."""

    start: int
    by_checkpoint: list[Gradients]

    @property
    def size(self) -> int:
        """The number of examples."""
        return self.by_checkpoint[0].batch_size


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
        self, *, batch_size: int | None, skip: int
    ) -> Iterator[tuple[int, Iterator[Recorded]]]:
        """Within, the batches from number `skip` on, and how many examples are in one.

        Args:
            batch_size: examples per batch of a Dataset; None chooses one that fits.
            skip: how many batches are read and not computed.
        """
        with self._session(batch_size, None) as (session, _):
            visiting = _Visiting(self._model, self._series, session, self._budget, self._kind)
            batches = islice(session.batches(), skip, None)
            yield session.batch_size, (visiting(start, batch) for start, batch in batches)

    @contextmanager
    def dealt(self, *, batch_size: int | None, together: Together) -> Iterator[Dealing]:
        """Within, the pass of a rank, whose share of the batches isn't settled yet.

        Args:
            batch_size: as for `begun`; the first rank's holds for all.
            together: the ranks.
        """
        ranks = None if together.size == 1 else together
        with self._session(batch_size, ranks) as (session, batches):
            visiting = _Visiting(self._model, self._series, session, self._budget, self._kind)
            begun = session.dealt(Deal()) if ranks else iter(batches)
            yield Dealing(session, visiting, begun)

    @contextmanager
    def _session(
        self, batch_size: int | None, together: Together | None
    ) -> Iterator[tuple[Session, Iterable[Numbered]]]:
        session = Session(
            self._model,
            self._capture,
            self._data,
            self._task,
            projection=self._projection,
            budget=self._budget // 4,
            kind=self._kind,
            ranks=together,
        )
        with self._capture.attached(), closing(self._series.visit()) as visits:
            session.next(visits)
            batches = session.begin(extra_numbers=self._extra_numbers, batch_size=batch_size)
            yield session, batches


class Dealing:
    """A pass that has begun, of which a rank takes its share.

    Args:
        session: the model, and the batches.
        visiting: computes a batch.
        begun: all batches, from the first.

    Attributes:
        batch_size: examples per batch of a Dataset.
    """

    def __init__(self, session: Session, visiting: _Visiting, begun: Iterator[Numbered]) -> None:
        self.batch_size = session.batch_size
        self._begun: Iterator[Numbered] | None = begun
        self._session = session
        self._visiting = visiting
        self._first: Recorded | None = None

    def first(self) -> Recorded | None:
        """The first batch of all, whosever it is; None where there is none."""
        begun, self._begun = self._begun, None
        if begun is not None:
            head = next(begun, None)
            self._first = None if head is None else self._visiting(*head)
        return self._first

    def recorded(self, deal: Deal) -> Iterator[Recorded]:
        """The batches of a share. What `first` has computed isn't computed again."""
        for start, batch in self._session.dealt(deal):
            known, self._first = self._first, None
            yield known if known is not None and start == 0 else self._visiting(start, batch)


class _Visiting:
    """Takes a batch to every checkpoint."""

    def __init__(
        self, model: nn.Module, series: BoundSeries, session: Session, budget: int, kind: str
    ) -> None:
        assert series.count is not None
        self._model = model
        self._series = series
        self._session = session
        self._kind = kind
        self._is_resident = series.count * weights_nbytes(model) <= budget // 2
        self._kept: list[Weights] = []
        self._tensors: list[tuple[str, Tensor]] = []

    def __call__(self, start: int, batch: object) -> Recorded:
        found = []
        if self._kept:
            for index, weights in enumerate(self._kept):
                weights.install(self._tensors)
                self._session.checked.checkpoint = index
                found.append(self._gradients(batch, start))
        else:
            kept = []
            with closing(self._series.visit()) as visits:
                while self._session.next(visits) is not None:
                    found.append(self._gradients(batch, start))
                    if self._is_resident:
                        kept.append(Weights(self._model))
            if kept:
                self._kept, self._tensors = kept, named_tensors(self._model)
        return Recorded(start, found)

    def _gradients(self, batch: object, start: int) -> Gradients:
        task = self._session.task
        return self._session.checked(task, batch, first=start, kind=self._kind)
