"""How many training examples and rounds a slow method is given, so that it fits a time limit."""

from __future__ import annotations

import contextlib
import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.answering import QUESTIONS, with_queries
from benchmarks.plain import plain_pass
from benchmarks.smaller import with_training

if TYPE_CHECKING:
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
    lines = {}
    for question in QUESTIONS:
        seconds = functools.partial(_seconds, kind, case, batch_size, plain_batch, question)
        # What fails is asked again, and reported, where it is measured.
        with contextlib.suppress(Exception):
            point = first, seconds(first)
            lines[question] = Line.through(point, point)
            if first < total and point[1] < limit / (rounds + 1):
                second = min(total, 2 * first)
                lines[question] = Line.through(point, (second, seconds(second)))
    return fitting(lines, total, rounds=rounds, limit=limit)


def _seconds(
    kind: type[Answering],
    case: Case,
    batch_size: int | None,
    plain_batch: int,
    question: str,
    count: int,
) -> float:
    cut = with_training(case, count)
    answering = kind(cut, batch_size)
    begun = time.perf_counter()
    answering.ask(question)
    plain_pass(cut, plain_batch, queries=with_queries(question))
    return time.perf_counter() - begun
