"""What is computed of every training example: scores with queries, or its own squared norm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from torch import Tensor

from headwater.errors import NonFiniteError
from headwater.forms import Gradients

if TYPE_CHECKING:
    from headwater.engine.queries import Queries
    from headwater.forms.shared_inputs import SharedInputs
    from headwater.tasks import Task


Evaluator: TypeAlias = Callable[[Gradients, "SharedInputs | None"], Tensor]
"""From B examples' gradients, and what checkpoints have in common, to R numbers each (R, B)."""

Part: TypeAlias = Callable[[Gradients], Gradients]
"""Of queries' gradients those of some layers, or of some of a layer's outputs: what is held."""


def whole(gradients: Gradients) -> Gradients:
    """The part that is everything."""
    return gradients


class ExampleRefused(Exception):
    """An evaluator can't take an example.

    Attributes:
        place: its place in the batch.
        why: what is wrong with it, as the end of a sentence that begins with its name.
    """

    def __init__(self, place: int, why: str) -> None:
        super().__init__(place, why)
        self.place = place
        self.why = why

    def named(self, kind: str, first: int) -> NonFiniteError:
        """The error for people.

        Args:
            kind: what the examples are called.
            first: the index of the batch's first.
        """
        return NonFiniteError(f"{kind} {first + self.place} {self.why}")


class Quantity(ABC):
    """R numbers per training example at one checkpoint, from its gradient.

    Attributes:
        rows: R, the number of queries, or 1.
        is_divisible: whether holding a part of the queries' gradients takes less than the whole.
    """

    rows: int
    is_divisible = True

    def factor(self, rate: float) -> float:
        """What the numbers of a checkpoint with this learning rate are multiplied by.

        The rate enters on one side only: on both, scores would scale with its square.
        """
        return rate

    @abstractmethod
    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        """What turns a batch's gradients into rows `start` to before `stop`, at present weights.

        Those of all parts add up to the rows.

        Args:
            capture: `(task, batch, first=, kind=) -> Gradients`, checked.
            part: what is held of the queries' gradients.
            batch_size: how many queries to capture at a time.
        """

    def alike(self, evaluator: Evaluator, other: Evaluator) -> Evaluator:
        """The evaluator, sharing with that of another checkpoint what they have in common."""
        return evaluator

    @abstractmethod
    def row_bytes(self, capture: Callable[..., Gradients], part: Part, batch_size: int) -> float:
        """Bytes that `prepare` holds per row, at present weights; arguments as there."""

    @abstractmethod
    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        """A task and batch that `prepare` will capture, to settle the plan on; None without."""


@dataclass(frozen=True)
class SquaredNorms:
    """Of each example's own gradient."""

    takes_reduced: ClassVar[bool] = True
    # An entry that isn't finite shows in what is computed, wherever it is.
    sees_all: ClassVar[bool] = True

    def __call__(self, examples: Gradients, shared: SharedInputs | None) -> Tensor:
        return examples.squared_norm(shared)[None]


class SelfInfluence(Quantity):
    """Each training example's own squared gradient norm."""

    rows = 1

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        return SquaredNorms()

    def row_bytes(self, capture: Callable[..., Gradients], part: Part, batch_size: int) -> float:
        return 0.0

    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        return None


@dataclass(frozen=True)
class DotProducts:
    """With the gradients of queries, which are its attribute."""

    queries: Gradients
    takes_reduced: ClassVar[bool] = True

    def __call__(self, examples: Gradients, shared: SharedInputs | None) -> Tensor:
        return self.queries.dot(examples, shared)


class PairScores(Quantity):
    """The dot product of each query's gradient with each training example's.

    Args:
        queries: the queries.
    """

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self.rows = queries.size

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        # By `map`, which doesn't hold a batch's whole gradients while the next one's are captured.
        captured = map(part, self._queries.gradients(capture, start, stop, batch_size))
        held = [gradients.for_pairs(queries=stop - start) for gradients in captured]
        return DotProducts(Gradients.joined(held, for_products=True))

    def alike(self, evaluator: Evaluator, other: Evaluator) -> Evaluator:
        assert isinstance(evaluator, DotProducts)
        assert isinstance(other, DotProducts)
        return DotProducts(evaluator.queries.with_inputs_of(other.queries))

    def row_bytes(self, capture: Callable[..., Gradients], part: Part, batch_size: int) -> float:
        gradients = next(self._queries.gradients(capture, 0, self.rows, batch_size))
        held = part(gradients).examples(0, 1).without_numbers().for_pairs(queries=self.rows)
        return held.nbytes

    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        return self._queries.task, self._queries.beginning(batch_size)
