"""A batch's gradients at every checkpoint."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.engine.weights import Weights, named_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from headwater.checkpoints import BoundSeries
    from headwater.engine.session import Session
    from headwater.forms import Gradients


@dataclass(frozen=True)
class Recorded:
    """A batch's gradients at every checkpoint, in order."""

    start: int
    by_checkpoint: list[Gradients]

    @property
    def size(self) -> int:
        """The number of examples."""
        return self.by_checkpoint[0].batch_size


class Visiting:
    """Takes a batch to every checkpoint.

    Args:
        model: the borrowed model.
        series: the checkpoints.
        session: captures.
        is_resident: whether all checkpoints' weights are kept in memory.
        kind: what the examples are called in messages.
    """

    def __init__(
        self,
        model: nn.Module,
        series: BoundSeries,
        session: Session,
        *,
        is_resident: bool,
        kind: str,
    ) -> None:
        self._model = model
        self._series = series
        self._session = session
        self._kind = kind
        self._is_resident = is_resident
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
            kept: list[Weights] = []
            with closing(self._series.visit()) as visits:
                while self._session.next(visits) is not None:
                    found.append(self._gradients(batch, start))
                    if self._is_resident:
                        last = len(kept) + 1 == self._series.count
                        kept.append(Weights(self._model, copied=not last))
            if kept:
                self._kept, self._tensors = kept, named_tensors(self._model)
        return Recorded(start, found)

    def _gradients(self, batch: object, start: int) -> Gradients:
        task = self._session.task
        return self._session.checked(task, batch, first=start, kind=self._kind)
