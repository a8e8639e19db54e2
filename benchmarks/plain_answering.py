"""The plain pass in the place of a method, so that its memory is measured as every other's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from benchmarks.answering import Answering
from benchmarks.plain import SIZES, plain_pass

if TYPE_CHECKING:
    from typing import ClassVar

    from torch import Tensor


class Plain(Answering):
    """Forward, loss and backward; there is no answer."""

    sizes: ClassVar[tuple[int, ...]] = SIZES

    def all_scores(self) -> Tensor:
        plain_pass(self.case, self.batch_size or 1)
        return torch.empty(0)

    def self_influence(self) -> Tensor:
        plain_pass(self.case, self.batch_size or 1, queries=False)
        return torch.empty(0)

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        return self.all_scores(), torch.empty(0)
