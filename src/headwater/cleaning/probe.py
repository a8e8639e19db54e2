"""A linear classifier's opinion of every example, as it is when fitted to all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

_RIDGE = 0.1
_ROWS = 8192


def left_out_probe(
    features: Float[Tensor, "N D"], labels: Int[Tensor, " N"], classes: int
) -> Float[Tensor, "N K"]:
    """What ridge regression on the classes, fitted without the example, says of it.

    With H = X (X^T X + lam I)^-1 X^T over all examples, the prediction without n is exactly
    (yhat_n - H_nn y_n) / (1 - H_nn), so that no example needs a fit of its own. lam is a tenth of
    the mean of the diagonal of X^T X, a column of ones is among the features. Rows are clamped to 0
    to 1 and sum to 1.

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
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(width, dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    fitted = inverse @ target
    found = []
    for start in range(0, len(features), _ROWS):
        rows, wanted = _block(features, labels, classes, start)
        leverage = ((rows @ inverse) * rows).sum(dim=1, keepdim=True)
        without = (rows @ fitted - leverage * wanted) / (1 - leverage)
        shares = without.clamp(1e-6, 1)
        found.append((shares / shares.sum(dim=1, keepdim=True)).float())
    return torch.cat(found)


def _block(features: Tensor, labels: Tensor, classes: int, start: int) -> tuple[Tensor, Tensor]:
    rows = features[start : start + _ROWS].double()
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], dim=1)
    wanted = torch.nn.functional.one_hot(labels[start : start + _ROWS], classes).double()
    return rows, wanted
