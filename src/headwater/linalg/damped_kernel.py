"""Inverses of damped Gram matrices of few vectors, by the products of these with one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class DampedKernel:
    """(s V^T V + damping)^-1 for fewer vectors N than they have dimensions D.

        (s V^T V + damping)^-1 x = [ x - V^T (V V^T + damping / s)^-1 V x ] / damping

    N^2 D + N^3 operations where the matrix itself takes N D^2 + D^3.

    Attributes:
        vectors: V, in float64.
        factor: the lower Cholesky factor of V V^T + damping / s.
        damping: larger than 0.

    Source: Woodbury (1950), "Inverting modified matrices".
    """

    vectors: Float[Tensor, "N D"]
    factor: Float[Tensor, "N N"]
    damping: float

    def solve(self, vectors: Float[Tensor, "Q D"]) -> Float[Tensor, "Q D"]:
        """The inverse times every row, in the dtype of the rows."""
        asked = vectors.to(self.vectors.dtype)
        inner = torch.cholesky_solve(self.vectors @ asked.mT, self.factor)
        return ((asked - inner.mT @ self.vectors) / self.damping).to(vectors.dtype)

    def quadratic(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """x^T (s V^T V + damping)^-1 x for every row x."""
        asked = vectors.to(self.vectors.dtype)
        found: Tensor = (asked * self.solve(asked)).sum(dim=1).to(vectors.dtype)
        return found


def damped_kernel(
    vectors: Float[Tensor, "N D"], damping: float, *, scale: float
) -> DampedKernel | None:
    """The inverse; None where the damping is so small that rounding would decide.

    Args:
        vectors: V.
        damping: in the unit of the eigenvalues of s V^T V.
        scale: s.
    """
    exact = vectors.double()
    kernel = exact @ exact.mT
    # The difference in the formula loses as many digits as damping is below the eigenvalues.
    if damping <= 1e-6 * scale * float(kernel.trace()):
        return None
    kernel.diagonal().add_(damping / scale)
    return DampedKernel(exact, torch.linalg.cholesky(kernel), damping)
