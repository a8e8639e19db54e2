"""The sum over all columns, which are forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class ColumnSum:
    """Adds up blocks of columns."""

    def __init__(self) -> None:
        self._total: Tensor | None = None

    def add(self, start: int, block: Float[Tensor, "R B"]) -> None:
        """Takes the columns from `start` on."""
        part = block.sum(dim=1).cpu()
        self._total = part if self._total is None else self._total.add_(part)

    def result(self) -> Float[Tensor, " R"]:
        """The sum, on the CPU; empty if there was no column."""
        return torch.empty(0) if self._total is None else self._total
