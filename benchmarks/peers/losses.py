"""The workloads' loss in the forms that peers ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

from benchmarks.workloads import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(nn.Module):
    """The loss of each example, or their sum; `reduction` says which, as PyTorch's losses do."""

    def __init__(self, reduction: Literal["none", "sum"]) -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        losses = cross_entropy(predictions, targets)
        return losses.sum() if self.reduction == "sum" else losses
