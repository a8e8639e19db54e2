"""What is computed of every training example: scores with queries, or its own squared norm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

from headwater.forms import Gradients

if TYPE_CHECKING:
    from headwater.forms.input_products import InputProducts
    from headwater.tasks import Task


Evaluator: TypeAlias = Callable[[Gradients, "InputProducts | None"], Tensor]
"""From B examples' gradients, and products of inputs that are known, to R numbers each (R, B)."""

# Enough to see what a query takes, and few enough to fit wherever one does.
_FEW = 2


class Quantity(ABC):
    """R numbers per training example at one checkpoint, from its gradient.

    Attributes:
        rows: R, the number of queries, or 1.
    """

    rows: int

    def factor(self, rate: float) -> float:
        """What the numbers of a checkpoint with this learning rate are multiplied by.

        The rate enters on one side only: on both, scores would scale with its square.
        """
        return rate

    @abstractmethod
    def prepare(
        self, capture: Callable[..., Gradients], start: int, stop: int, batch_size: int
    ) -> Evaluator:
        """What turns a batch's gradients into rows `start` to before `stop`, at present weights.

        Args:
            capture: `(task, batch, first=, kind=) -> Gradients`, checked.
            batch_size: how many queries to capture at a time.
        """

    def alike(self, evaluator: Evaluator, other: Evaluator) -> Evaluator:
        """The evaluator, sharing with that of another checkpoint what they have in common."""
        return evaluator

    @abstractmethod
    def row_bytes(self, capture: Callable[..., Gradients], batch_size: int) -> float:
        """Bytes that `prepare` holds per row, at present weights; arguments as there."""

    @abstractmethod
    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        """A task and batch that `prepare` will capture, to settle the plan on; None without."""


class SelfInfluence(Quantity):
    """Each training example's own squared gradient norm."""

    rows = 1

    def prepare(
        self, capture: Callable[..., Gradients], start: int, stop: int, batch_size: int
    ) -> Evaluator:
        return lambda examples, products: examples.squared_norm()[None]

    def row_bytes(self, capture: Callable[..., Gradients], batch_size: int) -> float:
        return 0.0

    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        return None


@dataclass(frozen=True)
class _DotProducts:
    """With the gradients of queries."""

    queries: Gradients

    def __call__(self, examples: Gradients, products: InputProducts | None) -> Tensor:
        return self.queries.dot(examples, products)


class PairScores(Quantity):
    """The dot product of each query's gradient with each training example's.

    Args:
        task: what is differentiated for a query.
        batch: all queries as one batch, on the model's device.
        size: the number of queries Q.
    """

    def __init__(self, task: Task, batch: Any, size: int) -> None:
        self._task = task
        self._batch = batch
        self.rows = size

    def prepare(
        self, capture: Callable[..., Gradients], start: int, stop: int, batch_size: int
    ) -> Evaluator:
        captured = []
        for first in range(start, stop, batch_size):
            queries = self._queries(first, min(first + batch_size, stop))
            gradients = capture(self._task, queries, first=first, kind="query")
            captured.append(gradients.for_pairs(queries=stop - start))
        return _DotProducts(Gradients.cat(captured))

    def alike(self, evaluator: Evaluator, other: Evaluator) -> Evaluator:
        assert isinstance(evaluator, _DotProducts)
        assert isinstance(other, _DotProducts)
        return _DotProducts(evaluator.queries.with_inputs_of(other.queries))

    def row_bytes(self, capture: Callable[..., Gradients], batch_size: int) -> float:
        queries = self._queries(0, min(batch_size, self.rows))
        gradients = capture(self._task, queries, first=0, kind="query")
        held = gradients.examples(0, _FEW).for_pairs(queries=self.rows)
        return held.nbytes / held.batch_size

    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        return self._task, self._queries(0, min(batch_size, self.rows))

    def _queries(self, start: int, stop: int) -> Any:
        if start == 0 and stop == self.rows:
            return self._batch
        return self._task.examples(self._batch, start, stop, size=self.rows)
