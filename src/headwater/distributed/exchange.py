"""Columns that every rank computes a part of, and every rank gets all of."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch

from headwater.errors import RankError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.distributed.ranks import Ranks

_COLUMNS, _ENDED, _ANEW, _FAILED, _NUMBER = range(5)
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class StartAnew(Exception):
    """Another rank found that it has to start anew, so all do.

    Args:
        told: what the ranks that found it let the others know.
    """

    def __init__(self, told: Sequence[Any] = ()) -> None:
        super().__init__()
        self.told = told


class _Sink(Protocol):
    def add(self, start: int, block: Float[Tensor, "R B"]) -> None: ...


class Exchange:
    """A sink in front of another one, on every rank.

    Batches are dealt out in turn: rank r has those whose number leaves r on division by the number
    of ranks. Once every rank has a batch's columns, all get all of them, in the order of the data,
    and hand them on: each rank's own sink sees what a single process would have given it.

    Args:
        ranks: the processes.
        sink: what gets the columns.
        rows: how many rows a block of columns has.

    Attributes:
        rank: this process's number.
        size: how many there are.
    """

    def __init__(self, ranks: Ranks, sink: _Sink, rows: int) -> None:
        self.rank, self.size = ranks.rank, ranks.size
        self._ranks = ranks
        self._sink = sink
        self._rows = rows
        self._end = 0

    def agreed(self, number: int) -> int:
        """The first rank's number; raises as `add`."""
        told = self._told(_NUMBER, torch.empty(self._rows, 0), number=number)
        if any(kind == _ANEW for kind, *_ in told):
            raise StartAnew
        return told[0][3]

    def add(self, start: int, block: Float[Tensor, "R B"]) -> None:
        """Takes this rank's next columns.

        Raises:
            RankError: another rank failed or died.
            StartAnew: another rank has to start anew.
        """
        self._round(_COLUMNS, block.detach().cpu())

    def finish(self) -> None:
        """Takes part until every rank has handed in its columns; raises as `add`."""
        while self._round(_ENDED, torch.empty(self._rows, 0)):
            pass

    def start_anew(self) -> None:
        """Lets the others know that this rank has to start anew; raises as `add`, but for that."""
        self._told(_ANEW, torch.empty(self._rows, 0))

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
        except BaseException as error:
            self.fail(error)
            raise

    def fail(self, error: BaseException) -> None:
        """Lets the others know of an error, so that they don't wait."""
        self._told(_FAILED, torch.empty(self._rows, 0), error=f"{type(error).__name__}: {error}")

    def _round(self, what: int, block: Tensor) -> bool:
        """One turn of every rank; whether there was a column."""
        told = self._told(what, block)
        if any(kind == _ANEW for kind, *_ in told):
            raise StartAnew
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

    def _told(
        self, what: int, block: Tensor, *, number: int = 0, error: str | None = None
    ) -> list[list[int]]:
        """What every rank comes with: of which kind, how many columns, their dtype, a number."""
        header = torch.tensor([what, block.shape[1], _DTYPES.index(block.dtype), number])
        told: list[list[int]] = [one.tolist() for one in self._ranks.gathered(header)]
        failed = [rank for rank, (kind, *_) in enumerate(told) if kind == _FAILED]
        if failed:
            errors = self._ranks.gathered_object(error)
            if error is None:
                raise RankError(f"rank {failed[0]} stopped: {errors[failed[0]]}")
        return told
