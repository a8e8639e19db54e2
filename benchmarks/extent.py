"""How many training examples and rounds a slow method is given, so that it fits a time limit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.answering import QUESTIONS, with_queries
from benchmarks.plain import plain_pass
from benchmarks.smaller import with_training

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.answering import Answering
    from benchmarks.workloads import Case

LEAST = 64


@dataclass(frozen=True)
class Line:
    """Seconds as a constant and a number per training example."""

    constant: float
    each: float

    @classmethod
    def through(cls, first: tuple[int, float], second: tuple[int, float]) -> Line:
        (n1, t1), (n2, t2) = first, second
        each = max(0.0, (t2 - t1) / (n2 - n1)) if n2 > n1 else t1 / n1
        return cls(max(0.0, t1 - each * n1), each)

    def at(self, count: int) -> float:
        return self.constant + self.each * count

    def reaches(self, seconds: float) -> float:
        """How many examples take so long."""
        if self.each == 0.0:
            return float("inf") if self.constant <= seconds else 0.0
        return max(0.0, (seconds - self.constant) / self.each)


@dataclass(frozen=True)
class Extent:
    """What a method is given: training examples, and rounds by question."""

    count: int
    rounds: dict[str, int]


def fitting(lines: dict[str, Line], total: int, *, rounds: int, limit: float) -> Extent:
    """As many examples as there is time for, in every question's rounds and one that doesn't count.

    Never fewer than 64 examples (or all); where that is too slow still, there are fewer rounds.
    """
    reach = min([line.reaches(limit / (rounds + 1)) for line in lines.values()], default=total)
    count = int(max(min(LEAST, total), min(total, reach)))
    if LEAST < count < total:
        count -= count % LEAST
    fit = {
        question: max(1, min(rounds, int(limit / max(line.at(count), 1e-9)) - 1))
        for question, line in lines.items()
    }
    return Extent(count, fit)


def extent(
    kind: type[Answering],
    case: Case,
    batch_size: int | None,
    plain_batch: int,
    *,
    rounds: int,
    limit: float,
) -> Extent:
    """What fits `limit` seconds for each question, the plain passes beside it included."""
    total = len(case.training[1])
    first = min(total, max(LEAST, batch_size or LEAST))
    second = min(total, 2 * first)
    lines = {}
    for question in QUESTIONS:
        try:
            seconds = _seconds(kind, with_training(case, first), batch_size, plain_batch, question)
            point = first, seconds
            lines[question] = Line.through(point, point)
            if seconds < limit / (rounds + 1):
                more = _seconds(
                    kind, with_training(case, second), batch_size, plain_batch, question
                )
                lines[question] = Line.through(point, (second, more))
        except Exception:
            continue  # Asked again, and reported, where it is measured.
    return fitting(lines, total, rounds=rounds, limit=limit)


def _seconds(
    kind: type[Answering], case: Case, batch_size: int | None, plain_batch: int, question: str
) -> float:
    answering = kind(case, batch_size)

    def timed(run: Callable[[], object]) -> float:
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun

    return timed(lambda: answering.ask(question)) + timed(
        lambda: plain_pass(case, plain_batch, queries=with_queries(question))
    )
