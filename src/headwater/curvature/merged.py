"""What the ranks of a group have each found, put together; a process by itself has all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from torch import Tensor

    from headwater.curvature.kronecker import Kronecker
    from headwater.distributed import Ranks
    from headwater.forms.gradients import Block


class Merged:
    """Sums, facts and shares of work; every method is called on all ranks, in the same order.

    Args:
        ranks: the processes; None for one by itself.
    """

    def __init__(self, ranks: Ranks | None) -> None:
        self._ranks = ranks

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum of every rank's tensor, alike on all of them."""
        return tensor if self._ranks is None else self._ranks.summed(tensor)

    def count(self, number: int) -> int:
        """The sum of every rank's number."""
        return number if self._ranks is None else sum(self._ranks.gathered_object(number))

    def all(self, fact: bool) -> bool:
        """Whether it is so on every rank."""
        return fact if self._ranks is None else all(self._ranks.gathered_object(fact))

    def kinds(
        self, dtype: torch.dtype, kinds: Mapping[Block, Kronecker | int]
    ) -> tuple[torch.dtype, dict[Block, Kronecker | int], list[Block]]:
        """The dtype of gradients, the kind of every block, and the blocks that are of several.

        Args:
            dtype: of this rank's.
            kinds: of this rank's blocks; those without gradients here may be missing.
        """
        found: dict[Block, Kronecker | int] = dict(kinds)
        if self._ranks is None:
            return dtype, found, []
        every = self._ranks.gathered_object((dtype, found))
        found, odd = {}, []
        for _, theirs in every:
            for block, kind in theirs.items():
                if found.setdefault(block, kind) != kind and block not in odd:
                    odd.append(block)
        # A rank without a batch knows of no dtype.
        return next((one for one, theirs in every if theirs), dtype), found, odd

    def shared_out(
        self, work: Sequence[Callable[[], list[Tensor]]], like: Sequence[list[Tensor]]
    ) -> list[list[Tensor]]:
        """What each piece of work makes, on every rank; each rank does a share of the pieces.

        What machines of another kind would make of it in another way is the same everywhere, too.

        Args:
            work: makes some tensors each.
            like: for each piece, tensors of the same shape and dtype on the same device.
        """
        if self._ranks is None:
            return [piece() for piece in work]
        rank, size = self._ranks.rank, self._ranks.size
        made = [
            piece() if place % size == rank else empty
            for place, (piece, empty) in enumerate(zip(work, like, strict=True))
        ]
        return [
            [self._ranks.told_by(place % size, part.contiguous()) for part in parts]
            for place, parts in enumerate(made)
        ]
