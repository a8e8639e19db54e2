"""Which of the batches of a pass are one rank's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Deal:
    """Runs of batches one after another, dealt out to ranks in turn.

    Attributes:
        rank: whose batches.
        ranks: how many share them.
        run: how many batches are dealt at a time.
        first: the number of the batch to begin with; those before it are nobody's.
    """

    rank: int = 0
    ranks: int = 1
    run: int = 1
    first: int = 0

    def has(self, number: int) -> bool:
        """Whether the batch of this number is the rank's."""
        place = number - self.first
        return place >= 0 and place // self.run % self.ranks == self.rank
