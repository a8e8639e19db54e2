"""Scores through an inverse curvature from a store of plain gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.curvature.preconditioned import Preconditioned
from headwater.estimators.by_stream import ByStream
from headwater.estimators.stored.from_store import FromStore
from headwater.estimators.stored.snapshot import like_queries
from headwater.forms import Gradients

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headwater.curvature import Inverse
    from headwater.engine.sink import AnySink
    from headwater.estimators.question import Question
    from headwater.estimators.streamed import Streamed
    from headwater.tasks import Task


class StoredPreconditioned(ByStream):
    """The answers of an influence function without its training data.

    Args:
        path: the store's folder.
        parts: the estimator's, for plain gradients at its one checkpoint.
        inverse: the fitted inverse curvature, at the time of a question.

    Raises:
        StoreError: there is no such store, it isn't whole, or it was made of something else.
    """

    def __init__(self, path: Path, parts: Streamed, inverse: Callable[[], Inverse]) -> None:
        self._snapshot = FromStore(path, parts, without_checkpoints=False)._snapshot
        self._inverse = inverse

    @property
    def ids(self) -> list[int | str]:
        """The stored examples' ids, in the order of columns."""
        return self._snapshot.ids

    @property
    def data(self) -> str:
        """The fingerprint of the data that the store was made of."""
        found: str = self._snapshot.manifest.binding["data"]
        return found

    @property
    def count(self) -> int:
        """How many examples are stored."""
        return self._snapshot.manifest.live

    def stream(
        self,
        question: Question | None,
        sink: Callable[[], AnySink],
        *,
        bounded: bool,
        show_progress: bool,
    ) -> AnySink:
        if question is None:
            return self._own(sink())
        queries = self._queries(question.task, question.batch, summed=question.summed)
        return self._pairs(sink(), queries)

    def _queries(self, task: Task, batch: Any, *, summed: bool = False) -> Gradients:
        (queries,) = self._snapshot._queries(task, batch, summed=summed)
        return queries

    def _own(self, sink: AnySink) -> AnySink:
        inverse = self._inverse()
        return self._snapshot._answers.into(
            sink,
            lambda _, part: inverse.quadratic(inverse.aligned(part, 0))[None],
            like_queries(self._snapshot._parts),
            rows=1,
            asked="preconditioned self-influence",
        )

    def _pairs(self, sink: AnySink, queries: Gradients) -> AnySink:
        preconditioned = Preconditioned(self._inverse())
        solved = Gradients.cat(list(preconditioned.solved(queries)))
        evaluate = preconditioned.evaluator(solved)
        return self._snapshot._answers.into(
            sink,
            lambda _, part: evaluate(part, None),
            queries.like,
            rows=queries.batch_size,
            asked="preconditioned scores",
        )
