"""The contract of what makes scores of vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms import Gradients


class VectorSink(Protocol):
    """Takes the vectors of training examples, in order."""

    def add(self, start: int, by_checkpoint: Sequence[Gradients]) -> None:
        """Takes those of the examples from `start` on, at every checkpoint."""


AnyVectorSink = TypeVar("AnyVectorSink", bound=VectorSink)


class VectorSource(Protocol):
    """The vectors of all training examples, to be gone through as often as needed."""

    def into(self, sink: Callable[[], AnyVectorSink], *, show_progress: bool) -> AnyVectorSink:
        """The sink with all vectors in it.

        Args:
            sink: makes an empty sink; called again if the pass has to start anew.
            show_progress: whether there is a bar.
        """


class Scorer(ABC):
    """Makes scores, knowing whatever it needs to know of all training examples."""

    @abstractmethod
    def queries(self, by_checkpoint: Sequence[Gradients]) -> list[Gradients]:
        """The queries' vectors at every checkpoint, made ready for `columns`.

        A score is linear in them, so that their sums give sums of scores.
        """

    @abstractmethod
    def columns(
        self, queries: Sequence[Gradients], by_checkpoint: Sequence[Gradients], *, start: int
    ) -> Float[Tensor, "Q B"]:
        """Scores of the queries with the training examples from `start` on."""

    @abstractmethod
    def own(self, by_checkpoint: Sequence[Gradients]) -> Float[Tensor, " B"]:
        """Each training example's self-influence."""


class VectorScoring(ABC):
    """What a scorer is made by."""

    @abstractmethod
    def fitted(self, source: VectorSource, *, show_progress: bool) -> Scorer:
        """The scorer for some training examples.

        Args:
            source: their vectors.
            show_progress: whether there is a bar.
        """
