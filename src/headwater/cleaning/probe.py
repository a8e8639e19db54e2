"""A linear classifier's opinion of every example, as it is when fitted to all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, Int

# As shares of the mean of the diagonal of X^T X.
_PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_ROWS = 8192


def left_out_probe(
    features: Float[Tensor, "N D"], labels: Int[Tensor, " N"], classes: int
) -> Float[Tensor, "N K"]:
    """What ridge regression on the classes, fitted without the example, says of it.

    With H = X (X^T X + lam I)^-1 X^T over all examples, the prediction without n is exactly
    (yhat_n - H_nn y_n) / (1 - H_nn), so that no example needs a fit of its own. lam is the one of
    six with the least squared error of these predictions; a column of ones is among the features.
    Rows are clamped to 0 to 1 and sum to 1.

    Memory: a block of rows and D * D numbers, in float64.

    Source: Allen (1974), the PRESS statistic.
    """
    width = features.shape[1] + 1
    gram = torch.zeros(width, width, dtype=torch.float64)
    target = torch.zeros(width, classes, dtype=torch.float64)
    for start in range(0, len(features), _ROWS):
        rows, wanted = _block(features, labels, classes, start)
        gram += rows.T @ rows
        target += rows.T @ wanted
    scale = float(gram.diagonal().mean())
    values, vectors = torch.linalg.eigh(gram)
    fit = _Fit(features, labels, classes, values.clamp_min(0), vectors, vectors.T @ target)
    errors = [fit.error(share * scale) for share in _PENALTIES]
    best = _PENALTIES[errors.index(min(errors))] * scale
    shares = [without.clamp(1e-6, 1) for without, _ in fit.without(best)]
    return torch.cat([share / share.sum(dim=1, keepdim=True) for share in shares]).float()


@dataclass(frozen=True)
class _Fit:
    """The eigenvectors of X^T X, and X^T Y in their coordinates."""

    features: Tensor
    labels: Tensor
    classes: int
    values: Tensor
    vectors: Tensor
    target: Tensor

    def error(self, penalty: float) -> float:
        return sum(float((out - wanted).square().sum()) for out, wanted in self.without(penalty))

    def without(self, penalty: float) -> Iterator[tuple[Tensor, Tensor]]:
        """By block, the predictions without the example itself, and the classes as they are."""
        inverse = 1 / (self.values + penalty)
        fitted = inverse[:, None] * self.target
        for start in range(0, len(self.features), _ROWS):
            rows, wanted = _block(self.features, self.labels, self.classes, start)
            turned = rows @ self.vectors
            leverage = (turned.square() @ inverse)[:, None]
            yield (turned @ fitted - leverage * wanted) / (1 - leverage), wanted


def _block(features: Tensor, labels: Tensor, classes: int, start: int) -> tuple[Tensor, Tensor]:
    rows = features[start : start + _ROWS].double()
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], dim=1)
    wanted = torch.nn.functional.one_hot(labels[start : start + _ROWS], classes).double()
    return rows, wanted
