"""Estimators whose questions one object answers: streamed, from a store, or from vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from headwater.estimators.tracincp_base import TracInCPBase

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from headwater.engine.sink import AnySink
    from headwater.estimators.question import Question
    from headwater.estimators.results import KMostInfluentialResults
    from headwater.estimators.stored.from_store import Answering
    from headwater.tasks import Task


class Answered(TracInCPBase):
    """Hands every question on to `_answers`, which a subclass sets."""

    _answers: Answering

    def _prepare(self, asked: tuple[Task, Any] | None, *, show_progress: bool) -> None:
        """What has to be done before a question is handed on, such as fitting.

        Args:
            asked: what is differentiated for a query, and the queries; None for self-influence.
            show_progress: whether there are bars.
        """

    def _self_influence(self, show_progress: bool = False) -> Float[Tensor, " N"]:
        self._prepare(None, show_progress=show_progress)
        return self._answers.self_influence(show_progress=show_progress)

    def _influence(
        self, inputs: tuple[Any, ...], targets: Any = None, show_progress: bool = False
    ) -> Float[Tensor, "Q N"]:
        task, batch = self._query_task(inputs, targets)
        self._prepare((task, batch), show_progress=show_progress)
        return self._answers.scores(task, batch, show_progress=show_progress)

    def _get_k_most_influential(
        self,
        inputs: tuple[Any, ...],
        targets: Any = None,
        k: int = 5,
        proponents: bool = True,
        show_progress: bool = False,
    ) -> KMostInfluentialResults:
        task, batch = self._query_task(inputs, targets)
        side: Literal["proponents", "opponents"] = "proponents" if proponents else "opponents"
        self._prepare((task, batch), show_progress=show_progress)
        return self._answers.top_k(task, batch, k=k, side=side, show_progress=show_progress)

    def _stream(
        self,
        question: Question | None,
        sink: Callable[[], AnySink],
        *,
        bounded: bool,
        show_progress: bool,
    ) -> AnySink:
        asked = None if question is None else (question.task, question.batch)
        self._prepare(asked, show_progress=show_progress)
        return self._answers.stream(question, sink, bounded=bounded, show_progress=show_progress)
