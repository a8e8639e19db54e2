"""Sums of columns by group, while the columns stream by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class GroupSums:
    """Adds up blocks of columns, each to its group's sum; memory R * G, whatever N.

    Args:
        groups: the group of every column, 0 to G - 1.
        number: how many groups there are, G.
    """

    def __init__(self, groups: Int[Tensor, " N"], number: int) -> None:
        self._groups = groups
        self._number = number
        self._sums: Tensor | None = None
        self._like = torch.empty(0)
        self._end = 0

    def add(self, start: int, block: Float[Tensor, "R B"]) -> None:
        """Takes the columns from `start` on.

        Raises:
            InputError: there are more columns than `groups` has entries.
        """
        self._end = start + block.shape[1]
        if self._end > len(self._groups):
            raise InputError(
                f"there are more training examples than the {len(self._groups)} that groups are "
                f"given for; give one group per training example"
            )
        # A million float32 terms of one sign would lose three digits in a float32 sum.
        wide = block.cpu().double()
        if self._sums is None:
            self._like = block.new_empty(0, device="cpu")
            self._sums = wide.new_zeros(len(block), self._number)
        self._sums.index_add_(1, self._groups[start : self._end], wide)

    def result(self) -> Float[Tensor, "R G"]:
        """The sums, on the CPU, in the columns' own precision.

        Raises:
            InputError: there were fewer columns than `groups` has entries.
        """
        if self._end < len(self._groups):
            raise InputError(
                f"groups are given for {len(self._groups)} training examples, and there are "
                f"{self._end}; give one group per training example"
            )
        if self._sums is None:
            return torch.zeros(0, self._number)
        return self._sums.to(self._like.dtype)
