"""The sum of all queries' scores, at the price of one query's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.engine.quantity import DotProducts, Evaluator, Part, Quantity
from headwater.forms import Gradients

if TYPE_CHECKING:
    from collections.abc import Callable

    from headwater.engine.queries import Queries
    from headwater.tasks import Task


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
        total: Gradients | None = None
        for captured in map(
            part, self._queries.gradients(capture, 0, self._queries.size, batch_size)
        ):
            some = captured.summed()
            total = some if total is None else Gradients.cat([total, some]).summed()
        assert total is not None, "there is at least one query"
        return DotProducts(total)

    def row_bytes(self, capture: Callable[..., Gradients], part: Part, batch_size: int) -> float:
        captured = next(self._queries.gradients(capture, 0, self._queries.size, batch_size))
        return part(captured).without_numbers().summed().nbytes

    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        return self._queries.task, self._queries.beginning(batch_size)
