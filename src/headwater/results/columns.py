"""Scores as something that can be gone through, block of columns by block of columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

from headwater.query import GroupedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.engine.sink import AnySink


class Columns(ABC):
    """R rows of scores, a column per training example.

    Attributes:
        rows: how many rows there are, R.
        count: how many training examples there are, N, where it is known beforehand.
    """

    rows: int
    count: int | None

    @abstractmethod
    def into(self, sink: Callable[[], AnySink], *, bounded: bool) -> AnySink:
        """The sink with every column in it.

        Args:
            sink: makes an empty sink; called again if the pass has to start anew.
            bounded: whether the sink forgets columns, so that memory must not grow with N.
        """

    def summed(self) -> Columns:
        """The sum of all rows, as one."""
        return Grouped(self, [0] * self.rows, torch.ones(1))


class Held(Columns):
    """Scores that are in memory.

    Args:
        matrix: of shape (R, N).
    """

    def __init__(self, matrix: Float[Tensor, "R N"]) -> None:
        self.matrix = matrix
        self.rows, self.count = matrix.shape

    def into(self, sink: Callable[[], AnySink], *, bounded: bool) -> AnySink:
        filled = sink()
        filled.add(0, self.matrix)
        return filled


class Grouped(Columns):
    """Scores with their rows added up by group.

    Args:
        columns: the scores.
        groups: the group of every row, 0 to G - 1.
        divisors: what each group's sum is divided by, G numbers.
    """

    def __init__(
        self, columns: Columns, groups: Sequence[int], divisors: Float[Tensor, " G"]
    ) -> None:
        self._columns = columns
        self._groups = torch.tensor(groups, dtype=torch.int64)
        self._divisors = divisors
        self.rows = len(divisors)
        self.count = columns.count

    def into(self, sink: Callable[[], AnySink], *, bounded: bool) -> AnySink:
        grouped = self._columns.into(
            lambda: GroupedRows(sink(), self._groups, self._divisors), bounded=bounded
        )
        return grouped.sink
