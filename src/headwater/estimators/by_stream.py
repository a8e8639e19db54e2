"""The three answers of whatever streams columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from headwater.estimators.question import Question
from headwater.estimators.results import KMostInfluentialResults
from headwater.query import AllScores, TopK

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from headwater.engine.sink import AnySink
    from headwater.tasks import Task


class ByStream(ABC):
    """Answers an estimator's questions, each by filling one sink."""

    @property
    @abstractmethod
    def count(self) -> int | None:
        """How many training examples there are, where that is known."""

    @abstractmethod
    def stream(
        self,
        question: Question | None,
        sink: Callable[[], AnySink],
        *,
        bounded: bool,
        show_progress: bool,
    ) -> AnySink:
        """The sink with the answer's columns in it; see `Streamed.stream`."""

    def self_influence(self, *, show_progress: bool) -> Float[Tensor, " N"]:
        """Every training example's self-influence."""
        return self._all(None, 1, show_progress=show_progress)[0]

    def scores(self, task: Task, batch: Any, *, show_progress: bool) -> Float[Tensor, "Q N"]:
        """All scores."""
        question = Question.of(task, batch)
        return self._all(question, question.rows, show_progress=show_progress)

    def top_k(
        self,
        task: Task,
        batch: Any,
        *,
        k: int,
        side: Literal["proponents", "opponents"],
        show_progress: bool,
    ) -> KMostInfluentialResults:
        """Each query's k highest or lowest scores."""
        question = Question.of(task, batch)
        sink = self.stream(
            question,
            lambda: TopK(question.rows, k=k, side=side),
            bounded=True,
            show_progress=show_progress,
        )
        return KMostInfluentialResults(*sink.result())

    def _all(
        self, question: Question | None, rows: int, *, show_progress: bool
    ) -> Float[Tensor, "R N"]:
        sink = self.stream(
            question,
            lambda: AllScores(rows, self.count),
            bounded=False,
            show_progress=show_progress,
        )
        return sink.result()
