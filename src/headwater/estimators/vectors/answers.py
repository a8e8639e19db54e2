"""Answers from vectors: computed once and kept where they fit, or read from a store."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic

from tqdm.auto import tqdm

from headwater.capture import Capture, PlanChanged, borrowed
from headwater.distributed import Together
from headwater.engine import memory_budget_bytes
from headwater.engine.sink import AnySink
from headwater.estimators.by_stream import ByStream
from headwater.estimators.query_batches import query_batches
from headwater.estimators.question import Question
from headwater.estimators.vectors.passes import vector_pass
from headwater.forms import Gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headwater.estimators.vectors.parts import VectorParts
    from headwater.estimators.vectors.scoring import AnyVectorSink, Scorer, VectorSource
    from headwater.tasks import Task


class ComputedVectors:
    """The vectors of an estimator's training data.

    Computed with the first question, and kept for the next where all of them fit half the memory
    budget; else computed anew each time they are gone through, in bounded memory.

    Args:
        parts: the estimator's.
    """

    def __init__(self, parts: VectorParts) -> None:
        self._parts = parts
        self._kept: list[tuple[int, Sequence[Gradients]]] | None = None

    def into(self, sink: Callable[[], AnyVectorSink], *, show_progress: bool) -> AnyVectorSink:
        """The sink with all vectors in it; see `VectorSource`."""
        if self._kept is not None:
            filled = sink()
            for start, by_checkpoint in self._kept:
                filled.add(start, by_checkpoint)
            return filled
        parts = self._parts
        capture = Capture(parts.net, parts.selection)
        facts = {"the estimator": parts.name, "what is computed": "the training data's vectors"}
        with Together.sharing(parts.net, facts) as ranks:
            while True:
                # A rule that turned out not to fit: what came of it before goes with the sink.
                with suppress(PlanChanged):
                    return self._once(capture, sink(), ranks, show_progress=show_progress)

    def _once(
        self,
        capture: Capture,
        filled: AnyVectorSink,
        ranks: Together | None,
        *,
        show_progress: bool,
    ) -> AnyVectorSink:
        parts = self._parts
        limit = memory_budget_bytes(parts.memory_budget) // 2
        if ranks is not None:
            # So that all go through the model again, or none.
            limit = min(ranks.told(limit))
        kept: list[tuple[int, Sequence[Gradients]]] = []
        held = 0
        passing = vector_pass(parts, capture, parts.data, parts.task, kind="training example")
        with (
            borrowed(parts.net, in_step=True),
            passing.begun(batch_size=None, skip=0, in_step=ranks) as (batch_size, recorded),
            tqdm(
                desc=parts.name,
                unit="batch",
                total=parts.data.number_of_batches(batch_size),
                disable=not show_progress,
            ) as bar,
        ):
            for batch in recorded:
                filled.add(batch.start, batch.by_checkpoint)
                bar.update()
                held += sum(part.nbytes for part in batch.by_checkpoint)
                if held <= limit:
                    kept.append((batch.start, batch.by_checkpoint))
                else:
                    kept.clear()
        if held <= limit:
            self._kept = kept
        return filled


class VectorAnswers(ByStream):
    """The answers to an estimator's questions.

    Args:
        parts: the estimator's.
        source: the training examples' vectors.
        count: how many there are, where that is known.
    """

    def __init__(self, parts: VectorParts, source: VectorSource, count: int | None) -> None:
        self._parts = parts
        self._source = source
        self._count = count
        self._fitted: Scorer | None = None

    @property
    def count(self) -> int | None:
        return self._count

    def stream(
        self,
        question: Question | None,
        sink: Callable[[], AnySink],
        *,
        bounded: bool,
        show_progress: bool,
    ) -> AnySink:
        if self._fitted is None:
            self._fitted = self._parts.scoring.fitted(self._source, show_progress=show_progress)
        scorer = self._fitted
        queries = None
        if question is not None:
            captured = query_vectors(self._parts, question.task, question.batch)
            queries = scorer.queries(captured)
            if question.summed:
                queries = [part.summed() for part in queries]
        filled = self._source.into(
            lambda: _Columns(scorer, queries, sink()), show_progress=show_progress
        )
        return filled.sink


class _Columns(Generic[AnySink]):
    """Makes columns of scores of vectors, and hands them on to a sink, its attribute."""

    def __init__(self, scorer: Scorer, queries: Sequence[Gradients] | None, sink: AnySink) -> None:
        self._scorer = scorer
        self._queries = queries
        self.sink = sink

    def add(self, start: int, by_checkpoint: Sequence[Gradients]) -> None:
        """Takes some examples' vectors."""
        if self._queries is None:
            columns = self._scorer.own(by_checkpoint)[None]
        else:
            columns = self._scorer.columns(self._queries, by_checkpoint, start=start)
        self.sink.add(start, columns)


def query_vectors(parts: VectorParts, task: Task, batch: Any) -> list[Gradients]:
    """The vectors of all queries at every checkpoint."""
    data, _ = query_batches(task, batch)
    capture = Capture(parts.net, parts.selection)
    found: list[list[Gradients]] = []
    facts = {"the estimator": parts.name, "what is computed": "the vectors of queries"}
    with Together.sharing(parts.net, facts) as ranks:
        while not found:
            passing = vector_pass(parts, capture, data, task, kind="query")
            with (
                suppress(PlanChanged),
                borrowed(parts.net, in_step=True),
                passing.begun(batch_size=None, skip=0, in_step=ranks) as (_, recorded),
            ):
                found = [batch.by_checkpoint for batch in recorded]
    return [Gradients.cat(list(batches)) for batches in zip(*found, strict=True)]
