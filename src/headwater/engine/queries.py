"""Queries in one batch that may be cut, or in several that may not, and their gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from headwater.forms import Gradients
    from headwater.tasks import Task


class Queries(ABC):
    """All queries, on the model's device.

    Attributes:
        task: what is differentiated for a query.
        size: the number of queries Q.
    """

    def __init__(self, task: Task, size: int) -> None:
        self.task = task
        self.size = size

    @abstractmethod
    def gradients(
        self, capture: Callable[..., Gradients], start: int, stop: int, batch_size: int
    ) -> Iterator[Gradients]:
        """The gradients of the queries from `start` to before `stop`, some at a time, in order.

        Args:
            capture: `(task, batch, first=, kind=) -> Gradients`, checked.
            batch_size: how many queries to capture at a time, where that can be chosen.
        """

    @abstractmethod
    def beginning(self, batch_size: int) -> Any:
        """The batch that `gradients` captures first."""


class OneBatch(Queries):
    """Queries in a single batch, which is cut into pieces that fit.

    Args:
        batch: all of them.
        task, size: see `Queries`.
    """

    def __init__(self, task: Task, batch: Any, size: int) -> None:
        super().__init__(task, size)
        self._batch = batch

    def gradients(
        self, capture: Callable[..., Gradients], start: int, stop: int, batch_size: int
    ) -> Iterator[Gradients]:
        for first in range(start, stop, batch_size):
            piece = self._piece(first, min(first + batch_size, stop))
            yield capture(self.task, piece, first=first, kind="query", may_be_cut=True)

    def beginning(self, batch_size: int) -> Any:
        return self._piece(0, min(batch_size, self.size))

    def _piece(self, start: int, stop: int) -> Any:
        if start == 0 and stop == self.size:
            return self._batch
        return self.task.examples(self._batch, start, stop, size=self.size)


class WholeBatches(Queries):
    """Queries in batches of the user's own making, each of which goes through the model as it is.

    Batches needn't fit together, nor consist of rows: they may be padded to different lengths, or
    hold texts end to end.

    Args:
        batches: each with the number of its queries.
        task: see `Queries`.
    """

    def __init__(self, task: Task, batches: Sequence[tuple[Any, int]]) -> None:
        super().__init__(task, sum(size for _, size in batches))
        self._batches = batches

    def gradients(
        self, capture: Callable[..., Gradients], start: int, stop: int, batch_size: int
    ) -> Iterator[Gradients]:
        place = 0
        for batch, size in self._batches:
            low, high = max(start, place) - place, min(stop, place + size) - place
            if low < high:
                captured = capture(self.task, batch, first=place, kind="query")
                yield captured if high - low == size else captured.examples(low, high)
            place += size

    def beginning(self, batch_size: int) -> Any:
        return self._batches[0][0]
