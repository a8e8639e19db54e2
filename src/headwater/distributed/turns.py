"""Batches that are dealt out to the ranks in turn, and what they tell each other at every turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from headwater.errors import RankError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from headwater.distributed.ranks import Ranks

BATCH, ENDED, _ANEW, _FAILED, _NUMBER = range(5)
# So many batches of a rank can be told of in one message.
MOST_BATCHES = 32


@dataclass(frozen=True)
class Told:
    """What a rank comes to a turn with.

    Attributes:
        what: why it comes.
        widths: how many columns or examples each of its batches has.
        dtype: of columns, as a number.
        number: whatever is to be agreed on.
        same: whatever should be the same on all ranks.
    """

    what: int
    widths: Sequence[int] = ()
    dtype: int = 0
    number: int = 0
    same: int = 0

    def packed(self) -> Tensor:
        """As a tensor, of one shape for all."""
        widths = [*self.widths, *[0] * (MOST_BATCHES - len(self.widths))]
        return torch.tensor([self.what, self.dtype, self.number, self.same, *widths])

    @classmethod
    def unpacked(cls, tensor: Tensor) -> Told:
        """From what `packed` gave."""
        what, dtype, number, same, *widths = tensor.tolist()
        return cls(what, widths, dtype, number, same)


class StartAnew(Exception):
    """Another rank found that it has to start anew, so all do.

    Args:
        told: what the ranks that found it let the others know.
    """

    def __init__(self, told: Sequence[Any] = ()) -> None:
        super().__init__()
        self.told = told


class Turns:
    """One pass over the training data in which rank r has every R-th batch from batch r on.

    A rank that fails, has to start anew or dies is noticed by the others as soon as the turn ends.

    Args:
        ranks: the processes.

    Attributes:
        rank: this process's number.
        size: how many there are.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.rank, self.size = ranks.rank, ranks.size
        self._ranks = ranks
        self._end = 0

    def agreed(self, number: int) -> int:
        """The first rank's number; raises as `place`."""
        return self._told(Told(_NUMBER, number=number))[0].number

    def place(self, size: int) -> int:
        """Where this rank's next batch begins in the training data.

        Args:
            size: how many examples are in it.

        Raises:
            RankError: another rank failed or died.
            StartAnew: another rank has to start anew.
        """
        sizes = self._turn(BATCH, size)
        begins = self._end + sum(sizes[: self.rank])
        self._end += sum(sizes)
        return begins

    def finish(self) -> None:
        """Takes part until every rank is through the data, which then begins anew; as `place`."""
        while any(sizes := self._turn(ENDED, 0)):
            self._end += sum(sizes)
        self._end = 0

    def start_anew(self) -> None:
        """Lets the others know that this rank has to start anew; raises RankError."""
        self._told(Told(_ANEW), may_start_anew=True)

    def fail(self, error: BaseException) -> None:
        """Lets the others know of an error, so that they don't wait."""
        self._told(Told(_FAILED), error=f"{type(error).__name__}: {error}", may_start_anew=True)

    def _turn(self, what: int, size: int) -> list[int]:
        """How many examples every rank has in this turn."""
        return [told.widths[0] for told in self._told(Told(what, [size]))]

    def _told(
        self, mine: Told, *, error: str | None = None, may_start_anew: bool = False
    ) -> list[Told]:
        """What every rank comes with."""
        told = [Told.unpacked(one) for one in self._ranks.gathered(mine.packed())]
        failed = [rank for rank, other in enumerate(told) if other.what == _FAILED]
        if failed:
            errors = self._ranks.gathered_object(error)
            if error is None:
                raise RankError(
                    f"rank {failed[0]} stopped: {errors[failed[0]]}", ranks=(failed[0],)
                )
        if not may_start_anew and any(other.what == _ANEW for other in told):
            raise StartAnew
        return told
