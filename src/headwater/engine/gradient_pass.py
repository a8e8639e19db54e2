"""The gradients themselves, batch by batch, for a store to keep."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.capture import Capture
from headwater.engine.session import Session
from headwater.engine.weights import Weights, named_tensors, weights_nbytes
from headwater.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from headwater.checkpoints import BoundSeries
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
        session = Session(
            self._model,
            self._capture,
            self._data,
            self._task,
            projection=self._projection,
            budget=self._budget // 4,
            kind=self._kind,
        )
        with self._capture.attached(), closing(self._series.visit()) as visits:
            session.next(visits)
            session.begin(extra_numbers=self._extra_numbers, batch_size=batch_size)
            yield session.batch_size, self._recorded(session, skip)

    def _recorded(self, session: Session, skip: int) -> Iterator[Recorded]:
        count = self._series.count
        assert count is not None
        resident = count * weights_nbytes(self._model) <= self._budget // 2
        kept: list[Weights] = []
        tensors: list[tuple[str, Tensor]] = []
        for number, (start, batch) in enumerate(session.batches()):
            if number < skip:
                continue
            found = []
            if kept:
                for index, weights in enumerate(kept):
                    weights.install(tensors)
                    session.checked.checkpoint = index
                    found.append(self._gradients(session, batch, start))
            else:
                with closing(self._series.visit()) as visits:
                    while session.next(visits) is not None:
                        found.append(self._gradients(session, batch, start))
                        if resident:
                            kept.append(Weights(self._model))
                            tensors = named_tensors(self._model)
            yield Recorded(start, found)

    def _gradients(self, session: Session, batch: object, start: int) -> Gradients:
        return session.checked(self._task, batch, first=start, kind=self._kind)
