"""What one process finds out about one method: times as ratios, scores to compare, memory."""

from __future__ import annotations

import functools
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.agreement import difference, from_autograd
from benchmarks.answering import (
    ALL_SCORES,
    QUESTIONS,
    SELF_INFLUENCE,
    TOP,
    K,
    NotOffered,
    with_queries,
)
from benchmarks.best_batch_size import best_batch_size
from benchmarks.extent import Extent, extent
from benchmarks.memory import peak_bytes
from benchmarks.own import Exact
from benchmarks.paired import in_turn
from benchmarks.plain import plain_pass
from benchmarks.smaller import first_checkpoint, with_training
from benchmarks.smaller import with_queries as few_queries

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.answering import Answering
    from benchmarks.workloads import Case


def times_of(
    kind: type[Answering], case: Case, plain_batch: int, *, rounds: int, limit: float | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Each question as a multiple of the plain pass, and the scores.

    A question that the method doesn't offer, or fails at, has that in the place of its times.
    """
    total = len(case.training[1])
    given = Extent(total, {})
    try:
        batch_size = best_batch_size(kind, case, limit=limit or 60.0)
    except Exception:
        # Each question fails by itself below, and says so.
        batch_size = kind.sizes[0]
    if limit is not None:
        given = extent(kind, case, batch_size, plain_batch, rounds=rounds, limit=limit)
    cut = with_training(case, given.count)
    found: dict[str, Any] = {
        "N": given.count,
        "N of the workload": total,
        "Q": len(case.queries[1]),
        "C": len(case.states),
        "batch": None if batch_size is None else min(batch_size, given.count),
        "plain batch": min(plain_batch, given.count),
        "covers": kind.covers(case),
        "differs": kind.differs(case),
        "questions": {},
    }
    answers: dict[str, Any] = {}
    try:
        asked = kind(cut, batch_size)
    except Exception as error:
        found["questions"] = {question: _failure(error) for question in QUESTIONS}
        return found, {}
    for question in QUESTIONS:
        rounds_given = given.rounds.get(question, rounds)
        try:
            found["questions"][question] = _ratio(
                asked, question, cut, plain_batch, rounds_given, answers
            )
        except NotOffered as reason:
            found["questions"][question] = {"not offered": str(reason)}
        except Exception as error:
            found["questions"][question] = _failure(error)
    if {ALL_SCORES, TOP} <= answers.keys():
        expected = answers[ALL_SCORES].topk(K).values
        found["top and all"] = asdict(difference(answers[TOP][1], expected))
    if kind is Exact and ALL_SCORES in answers:
        found["from autograd"] = from_autograd(cut, answers[ALL_SCORES])
    kept = {
        question: answers[question]
        for question in (ALL_SCORES, SELF_INFLUENCE)
        if question in answers
    }
    return found, kept


def _ratio(
    asked: Answering,
    question: str,
    case: Case,
    plain_batch: int,
    rounds: int,
    answers: dict[str, Any],
) -> dict[str, Any]:
    def ask() -> None:
        answers.pop(question, None)  # So that two answers are never held at once.
        answers[question] = asked.ask(question)

    floor = functools.partial(plain_pass, case, plain_batch, queries=with_queries(question))
    paired = in_turn(floor, ask, rounds=rounds)
    return {
        "ratio": statistics.median(paired.ratios),
        "from": min(paired.ratios),
        "to": max(paired.ratios),
        "rounds": rounds,
        "seconds": statistics.median(paired.measured),
        "plain seconds": statistics.median(paired.floor),
    }


def _failure(error: Exception) -> dict[str, str]:
    lines = str(error).strip().splitlines() or [""]
    return {"error": f"{type(error).__name__}: {lines[0]}"}


@dataclass(frozen=True)
class Memory:
    """Bytes: at the highest beyond what was held before; and of the answer, which is part of it."""

    peak: int | None
    answer: int


def memory_of(kind: type[Answering], case: Case, question: str, batch_size: int | None) -> Memory:
    """What one question takes, asked for the first time.

    Before it, a small case is answered, which loads code and sets up what lives as long as the
    process.
    """
    small = few_queries(with_training(first_checkpoint(case), 2 * K), 2)
    kind(small, None if batch_size is None else min(batch_size, 2 * K)).ask(question)
    asked = kind(case, batch_size)
    answers: list[Any] = []
    peak = peak_bytes(lambda: answers.append(asked.ask(question)))
    tensors = answers[0] if isinstance(answers[0], tuple) else (answers[0],)
    return Memory(peak, sum(t.untyped_storage().nbytes() for t in tensors if torch.is_tensor(t)))
