"""Columns that every rank computes a part of, and every rank gets all of."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch

from headwater.distributed.turns import BATCH, ENDED, MOST_BATCHES, StartAnew, Told, Turns
from headwater.errors import RankError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.distributed.ranks import Ranks

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

# Ranks wait for the slowest at every exchange, so that it should be the slowest of many batches;
# and a rank that is gone is noticed at the next one.
_SECONDS_BETWEEN = 5.0
_MOST_BYTES = 16 * 2**20


class _Sink(Protocol):
    def add(self, start: int, block: Float[Tensor, "R B"]) -> None: ...


class Exchange(Turns):
    """A sink in front of another one, on every rank.

    Once every rank has its batches' columns, all get all of them, in the order of the data, and
    hand them on: each rank's own sink sees what a single process would have given it. After how
    many batches they exchange follows from how long the slowest rank took for the last ones.

    Args:
        ranks: the processes.
        sink: what gets the columns.
        rows: how many rows a block of columns has.

    Attributes:
        batches_between: how many batches a rank computes before the next exchange; the same on all.
    """

    def __init__(self, ranks: Ranks, sink: _Sink, rows: int) -> None:
        super().__init__(ranks)
        self._sink = sink
        self._rows = rows
        self._held: list[Tensor] = []
        self.batches_between = 1
        self._begun = time.monotonic()

    def add(self, start: int, block: Float[Tensor, "R B"]) -> None:
        """Takes this rank's next columns; they are handed on by the next exchange.

        Raises:
            RankError: another rank failed or died.
            StartAnew: another rank has to start anew.
        """
        self._held.append(block.detach().cpu())
        if len(self._held) >= self.batches_between:
            self._round(BATCH)

    def finish(self) -> None:
        """Takes part until every rank has handed in its columns; raises as `add`."""
        self.finish_alike(0)

    def finish_alike(self, same: int) -> bool:
        """Likewise; whether what should be the same on all ranks is."""
        while True:
            told = self._round(ENDED, same)
            if all(each.what == ENDED for each in told):
                return len({each.same for each in told}) == 1

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Within, this rank hands in its columns; afterwards it has all of them.

        An error is the others' to know of before it is raised here; raises as `add`, too.
        """
        try:
            yield
            self.finish()
        except (RankError, StartAnew):
            raise
        except Exception as error:
            self.fail(error)
            raise

    def _round(self, what: int, same: int = 0) -> list[Told]:
        """Every rank's columns that it holds; what the ranks came with."""
        held, self._held = self._held, []
        took = int((time.monotonic() - self._begun) * 1e6)
        widths = [block.shape[1] for block in held]
        dtype = _DTYPES.index(held[0].dtype) if held else 0
        told = self._told(Told(what, widths, dtype, took, same))
        widest = max(sum(each.widths) for each in told)
        if not widest:
            return told
        known = _DTYPES[next(each.dtype for each in told if any(each.widths))]
        # As wide as the widest rank's, by a block that nobody reads.
        rest = torch.zeros(self._rows, widest - sum(widths), dtype=known)
        mine = torch.cat([*held, rest], dim=1)
        found = self._ranks.gathered(mine)
        by_rank = [
            columns[:, : sum(each.widths)].split(list(each.widths), dim=1)
            for columns, each in zip(found, told, strict=True)
        ]
        # Batches were dealt out in turn.
        for turn in zip(*by_rank, strict=True):
            for block in turn:
                if block.shape[1]:
                    self._sink.add(self._end, block)
                    self._end += block.shape[1]
        self._wait_longer(told, mine.nbytes * self.size)
        return told

    def _wait_longer(self, told: Sequence[Told], nbytes: int) -> None:
        """Settles after how many batches the next exchange is; on every rank alike."""
        counts = [sum(width > 0 for width in each.widths) for each in told]
        slowest = max(
            each.number / count for each, count in zip(told, counts, strict=True) if count
        )
        by_time = _SECONDS_BETWEEN * 1e6 / max(slowest, 1.0)
        by_bytes = _MOST_BYTES * max(counts) / nbytes
        self.batches_between = max(1, min(int(by_time), int(by_bytes), MOST_BATCHES))
        self._begun = time.monotonic()
