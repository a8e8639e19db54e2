"""An estimator's scores as columns that are computed when they are gone through."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from headwater.results import TRACIN, Columns, Meaning, Names, Scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headwater.engine.sink import AnySink
    from headwater.estimators.question import Question
    from headwater.results import Wording


class Stream(Protocol):
    """Answers a question, or with None that for self-influence, in blocks of columns."""

    def __call__(
        self, question: Question | None, sink: Callable[[], AnySink], *, bounded: bool
    ) -> AnySink:
        """The sink with every column in it; see `Columns.into`."""


class Asked(Columns):
    """The answer to a question.

    Args:
        stream: answers it.
        question: scores with queries; None for self-influence.
        count: the number of training examples N, where it is known.
    """

    def __init__(self, stream: Stream, question: Question | None, count: int | None) -> None:
        self._stream = stream
        self._question = question
        self.rows = 1 if question is None else question.rows
        self.count = count

    def into(self, sink: Callable[[], AnySink], *, bounded: bool) -> AnySink:
        return self._stream(self._question, sink, bounded=bounded)

    def summed(self) -> Columns:
        if self._question is None:
            return self
        return Asked(self._stream, replace(self._question, summed=True), self.count)


def scores_of(
    stream: Stream,
    question: Question | None,
    count: int | None,
    *,
    estimator: Mapping[str, Any],
    examples: Mapping[str, Any] | None,
    queries: Mapping[str, Any] | None,
    ids: Sequence[int | str] | None,
    measured: Literal["loss", "output"],
    wording: Wording = TRACIN,
) -> Scores:
    """The answer to a question, with names and a meaning; it is computed when it is asked for.

    Args:
        stream: answers questions.
        question: scores with queries; None for self-influence.
        count: the number of training examples N, where it is known.
        estimator: what the scores are computed by, in facts.
        examples: what is known of the training examples, by column.
        queries: what is known of the queries, by column.
        ids: of the training examples, where a store has some; `examples` is joined to them.
        measured: what is differentiated for a query.
        wording: what the scores are in words.

    Raises:
        InputError: a column has another length than there are examples or queries.
    """
    known = Names(
        "training example",
        {} if examples is None else examples,
        count if ids is None else None,
        indexed=True,
    )
    if ids is not None:
        known = known.joined(ids)
    asked = Names(
        "query", {} if queries is None else queries, 0 if question is None else question.size
    )
    quantity: Literal["influence", "self_influence"] = (
        "self_influence" if question is None else "influence"
    )
    return Scores(
        Asked(stream, question, count),
        Meaning(quantity, "loss" if question is None else measured, estimator, wording=wording),
        queries=asked,
        examples=known,
    )
