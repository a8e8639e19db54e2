"""Scores with an inverse curvature between the two gradients, which acts on the queries' once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.engine.quantity import DotProducts, Evaluator, Part, Quantity
from headwater.engine.summed_scores import sum_of
from headwater.forms import Gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headwater.curvature.curvature import Inverse
    from headwater.engine import Queries
    from headwater.tasks import Task

# Bytes of gradients that go through an inverse at a time, which takes a few times as much.
_AT_ONCE = 64 * 2**20


class Preconditioned:
    """<T g_q, g_n>: products of what the inverse makes of queries' gradients with each example's.

    Args:
        inverse: T, at the weights that the run visits.
    """

    def __init__(self, inverse: Inverse) -> None:
        self.inverse = inverse

    def solved(self, gradients: Gradients) -> Iterator[Gradients]:
        """T g for every gradient, some at a time."""
        each = max(1, self.inverse.numbers * gradients.like.element_size())
        width = max(1, _AT_ONCE // each)
        for start in range(0, gradients.batch_size, width):
            part = gradients.examples(start, start + width)
            yield self.inverse.solve(self.inverse.aligned(part, 0))

    def evaluator(self, solved: Gradients) -> Evaluator:
        """Products of T g with batches of training gradients."""
        products = DotProducts(solved)
        return lambda examples, known: products(self.inverse.aligned(examples, 0), known)


class PreconditionedScores(Quantity):
    """<g_q, T g_n> of each query and training example.

    Args:
        inverse: T, at the weights that the run visits.
        queries: the queries.
    """

    # What is solved is whole, and every part would have to be solved for anew.
    is_divisible = False

    def __init__(self, inverse: Inverse, queries: Queries) -> None:
        self._preconditioned = Preconditioned(inverse)
        self._queries = queries
        self.rows = queries.size

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        held = [
            part(solved)
            for captured in self._queries.gradients(capture, start, stop, batch_size)
            for solved in self._preconditioned.solved(captured)
        ]
        return self._preconditioned.evaluator(Gradients.joined(held))

    def row_bytes(self, capture: Callable[..., Gradients], part: Part, batch_size: int) -> float:
        few = next(self._queries.gradients(capture, 0, min(2, self.rows), 2))
        return self._preconditioned.inverse.numbers * few.like.element_size()

    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        return self._queries.task, self._queries.beginning(batch_size)


class SummedPreconditionedScores(Quantity):
    """The sum of all queries' scores, at the price of one query's; arguments as above."""

    rows = 1
    is_divisible = False

    def __init__(self, inverse: Inverse, queries: Queries) -> None:
        self._preconditioned = Preconditioned(inverse)
        self._queries = queries

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        captured = self._queries.gradients(capture, 0, self._queries.size, batch_size)
        (solved,) = self._preconditioned.solved(sum_of(captured))
        return self._preconditioned.evaluator(part(solved))

    def row_bytes(self, capture: Callable[..., Gradients], part: Part, batch_size: int) -> float:
        few = next(self._queries.gradients(capture, 0, min(2, self._queries.size), 2))
        return self._preconditioned.inverse.numbers * few.like.element_size()

    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        return self._queries.task, self._queries.beginning(batch_size)


class PreconditionedSelfInfluence(Quantity):
    """<g_n, T g_n> of each training example.

    Args:
        inverse: T, at the weights that the run visits.
    """

    rows = 1

    def __init__(self, inverse: Inverse) -> None:
        self._inverse = inverse

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        inverse = self._inverse
        return lambda examples, _: inverse.quadratic(inverse.aligned(examples, 0))[None]

    def row_bytes(self, capture: Callable[..., Gradients], part: Part, batch_size: int) -> float:
        return 0.0

    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        return None
