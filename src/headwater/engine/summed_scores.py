"""The sum of all queries' scores, at the price of one query's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.engine.quantity import DotProducts, Evaluator, Part, Quantity
from headwater.forms import Gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headwater.engine.queries import Queries
    from headwater.tasks import Task


def sum_of(captured: Iterator[Gradients]) -> Gradients:
    """The sum of all gradients of at least one batch, as one, written out."""
    total = next(captured).summed()
    for gradients in captured:
        total = Gradients.cat([total, gradients.summed()]).summed()
    return total


class SummedScores(Quantity):
    """The dot product of the sum of the queries' gradients with each training example's.

    Args:
        queries: the queries.
    """

    rows = 1

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        captured = self._queries.gradients(capture, 0, self._queries.size, batch_size)
        return DotProducts(sum_of(map(part, captured)))

    def row_bytes(self, capture: Callable[..., Gradients], part: Part, batch_size: int) -> float:
        captured = next(self._queries.gradients(capture, 0, self._queries.size, batch_size))
        return part(captured).without_numbers().summed().nbytes

    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        return self._queries.task, self._queries.beginning(batch_size)
