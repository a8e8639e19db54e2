"""A store's scores with their meaning: ids, tables, and what they were made by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.estimators.asked import scores_of
from headwater.estimators.description import described

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from headwater.estimators.question import Question
    from headwater.estimators.stored.snapshot import Snapshot
    from headwater.estimators.tracincp_base import TracInCPBase
    from headwater.results import Scores


def scores_with_meaning(
    snapshot: Snapshot,
    estimator: TracInCPBase,
    path: Path,
    question: Question | None,
    *,
    of_outputs: bool,
    examples: Mapping[str, Any] | None,
    queries: Mapping[str, Any] | None,
) -> Scores:
    """The scores of a store's present state.

    Args:
        snapshot: the state.
        estimator: whose store it is.
        path: the store's.
        question: the queries; None asks for self-influence.
        of_outputs: whether queries are without targets, so that outputs are traced and not losses.
        examples, queries: see `GradientStore.attribute`, which raises what is wrong with them.
    """
    manifest = snapshot.manifest
    has_task = estimator._given_task is not None
    return scores_of(
        lambda question, sink, bounded: snapshot.stream(question, sink),
        question,
        manifest.live,
        estimator={
            **described(estimator, store=path, count=manifest.live),
            **{key: manifest.binding[key] for key in ("form", "dtype")},
        },
        examples=examples,
        queries=queries,
        ids=snapshot.ids,
        measured="loss" if has_task or not of_outputs else "output",
        wording=estimator._wording,
    )
