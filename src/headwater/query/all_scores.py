"""All scores, collected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class AllScores:
    """Collects blocks of columns into one matrix.

    Args:
        rows: the number of queries Q.
        columns: the number of training examples N, where known: then the matrix is made at once.
    """

    def __init__(self, rows: int, columns: int | None) -> None:
        self._rows = rows
        self._columns = columns
        self._matrix: Tensor | None = None
        self._blocks: list[Tensor] = []
        self._end = 0

    def add(self, start: int, block: Float[Tensor, "Q B"]) -> None:
        """Takes the columns from `start` on; blocks come in order."""
        block = block.cpu()
        self._end = start + block.shape[1]
        if self._columns is None:
            self._blocks.append(block)
            return
        if self._matrix is None:
            self._matrix = block.new_empty(self._rows, self._columns)
        if self._end > self._columns:
            # More examples than the dataset said: `len` of an iterable is only a hint.
            self._blocks = [self._matrix[:, :start], block]
            self._columns = None
            return
        self._matrix[:, start : self._end] = block

    def result(self) -> Float[Tensor, "Q N"]:
        """The matrix, on the CPU."""
        if self._columns is None and self._blocks:
            return torch.cat(self._blocks, dim=1)
        if self._matrix is None:
            return torch.empty(self._rows, 0)
        return self._matrix[:, : self._end]
