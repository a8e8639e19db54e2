"""Columns that every rank computes a part of, and every rank gets all of."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch

from headwater.distributed.turns import BATCH, ENDED, StartAnew, Turns
from headwater.errors import RankError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float
    from torch import Tensor

    from headwater.distributed.ranks import Ranks

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class _Sink(Protocol):
    def add(self, start: int, block: Float[Tensor, "R B"]) -> None: ...


class Exchange(Turns):
    """A sink in front of another one, on every rank.

    Once every rank has its batch's columns, all get all of them, in the order of the data, and hand
    them on: each rank's own sink sees what a single process would have given it.

    Args:
        ranks: the processes.
        sink: what gets the columns.
        rows: how many rows a block of columns has.
    """

    def __init__(self, ranks: Ranks, sink: _Sink, rows: int) -> None:
        super().__init__(ranks)
        self._sink = sink
        self._rows = rows

    def add(self, start: int, block: Float[Tensor, "R B"]) -> None:
        """Takes this rank's next columns.

        Raises:
            RankError: another rank failed or died.
            StartAnew: another rank has to start anew.
        """
        self._round(BATCH, block.detach().cpu())

    def finish(self) -> None:
        """Takes part until every rank has handed in its columns; raises as `add`."""
        while self._round(ENDED, torch.empty(self._rows, 0)):
            pass

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

    def _round(self, what: int, block: Tensor) -> bool:
        """One turn of every rank; whether there was a column."""
        told = self._told(what, width=block.shape[1], dtype=_DTYPES.index(block.dtype))
        widths = [width for _, width, *_ in told]
        widest = max(widths)
        if not widest:
            return False
        dtype = _DTYPES[next(place for _, width, place, _ in told if width)]
        mine = torch.zeros(self._rows, widest, dtype=dtype)
        mine[:, : block.shape[1]] = block
        for part, width in zip(self._ranks.gathered(mine), widths, strict=True):
            if width:
                self._sink.add(self._end, part[:, :width])
                self._end += width
        return True
