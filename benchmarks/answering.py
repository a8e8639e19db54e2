"""What is asked of every method: three questions about one case."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from benchmarks.workloads import Case

K = 10
ALL_SCORES, SELF_INFLUENCE, TOP = "all scores", "self-influence", f"top {K}"
QUESTIONS = (ALL_SCORES, SELF_INFLUENCE, TOP)


def with_queries(question: str) -> bool:
    """Whether the plain pass that a question is held against goes over the queries too."""
    return question != SELF_INFLUENCE


class NotOffered(Exception):
    """The method has no such answer; the message says why."""


class Answering(ABC):
    """A method that is ready to answer about a case.

    What a user does once (loading, wrapping the model) belongs in the constructor, which isn't
    timed; what every answer takes belongs in the methods.

    Args:
        case: the model, its checkpoints and examples.
        batch_size: training examples per batch, one of `sizes`; None where a method picks its own.

    Attributes:
        sizes: the batch sizes to try, ascending; none where a method picks its own.
        holds_gradients: whether a batch's gradients are held one by one, so that memory bounds the
            batch size.
    """

    sizes: ClassVar[tuple[int, ...]] = (8, 16, 32, 64, 128, 256, 512, 1024)
    holds_gradients: ClassVar[bool] = True

    def __init__(self, case: Case, batch_size: int | None) -> None:
        self.case = case
        self.batch_size = batch_size

    @classmethod
    def covers(cls, case: Case) -> list[str] | None:
        """The names of the parameters whose gradients count; None if all that should do."""
        return None

    @classmethod
    def differs(cls, case: Case) -> str | None:
        """Why the scores are others than the exact ones of all parameters; None if they aren't."""
        return None

    @abstractmethod
    def all_scores(self) -> Tensor:
        """`[Q, N]`."""

    @abstractmethod
    def self_influence(self) -> Tensor:
        """`[N]`."""

    @abstractmethod
    def top(self, k: int) -> tuple[Tensor, Tensor]:
        """Indices and scores of each query's k proponents, strongest first: both `[Q, k]`."""

    def ask(self, question: str) -> Tensor | tuple[Tensor, Tensor]:
        answers: dict[str, Callable[[], Tensor | tuple[Tensor, Tensor]]] = {
            ALL_SCORES: self.all_scores,
            SELF_INFLUENCE: self.self_influence,
            TOP: lambda: self.top(K),
        }
        return answers[question]()
