"""Blocks of columns with their rows added up by group, on the way to another sink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from headwater.engine.sink import AnySink

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class GroupedRows(Generic[AnySink]):
    """Hands on, in place of Q rows, one per group of them.

    Args:
        sink: what gets the blocks; an attribute too.
        groups: the group of every row, 0 to G - 1.
        divisors: what each group's sum is divided by: its size for a mean, 1 for the sum.
    """

    def __init__(
        self, sink: AnySink, groups: Int[Tensor, " Q"], divisors: Float[Tensor, " G"]
    ) -> None:
        self.sink = sink
        self._groups = groups
        self._divisors = divisors

    def add(self, start: int, block: Float[Tensor, "Q B"]) -> None:
        """Takes the columns from `start` on."""
        block = block.cpu()
        sums = block.new_zeros(len(self._divisors), block.shape[1])
        sums.index_add_(0, self._groups, block)
        self.sink.add(start, sums.div_(self._divisors.to(sums.dtype)[:, None]))
