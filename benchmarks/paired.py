"""Two ways of doing the same work, timed in turn."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Paired:
    """Seconds of each round, in order: of the floor, and of what is held against it."""

    floor: list[float]
    measured: list[float]

    @property
    def ratios(self) -> list[float]:
        """What is measured over the floor, by round."""
        return [m / f for f, m in zip(self.floor, self.measured, strict=True)]

    def __str__(self) -> str:
        low, high = min(self.ratios), max(self.ratios)
        return (
            f"{statistics.median(self.ratios):.2f} times the floor "
            f"({len(self.floor)} rounds, from {low:.2f} to {high:.2f}); seconds, median: "
            f"{statistics.median(self.measured):.3f} against {statistics.median(self.floor):.3f}"
        )


def in_turn(floor: Callable[[], object], measured: Callable[[], object], *, rounds: int) -> Paired:
    """Time both, one after the other in every round, after a round that doesn't count.

    A machine that slows down for a while slows both; which goes first alternates.
    """
    floor()
    measured()
    result = Paired([], [])
    for index in range(rounds):
        pairs = [(floor, result.floor), (measured, result.measured)]
        for run, seconds in pairs if index % 2 == 0 else reversed(pairs):
            begun = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - begun)
    return result
