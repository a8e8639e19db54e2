"""Which batches are held against autograd."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Looks:
    """The looks of one of the processes that have every so-manieth batch each.

    By itself a process looks at the first batch, the second, the fourth and so on. Of several each
    tells the others what it has met, so that looks are dealt out: of the first batch of each, which
    are all the data's first ones, the first, second, fourth process and so on look at theirs, and
    of each later one that is due, one process.

    Attributes:
        rank: the process.
        ranks: how many there are.
    """

    rank: int = 0
    ranks: int = 1

    def due(self, count: int) -> bool:
        """Whether to look at the batch that is this process's `count`-th, from 1."""
        if count == 1:
            return (self.rank + 1).bit_count() == 1
        return count.bit_count() == 1 and (count.bit_length() - 1) % self.ranks == self.rank
