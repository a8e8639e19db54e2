"""The curvature of all selected parameters as one dense matrix."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

import torch

from headwater.curvature.curvature import Curvature, Inverse
from headwater.curvature.damping import (
    Damping,
    RelativeDamping,
    amount,
    checked_damping,
    reason,
)
from headwater.curvature.products import Matrix, Products, checked_matrix, no_curvature
from headwater.curvature.vectors import as_vectors
from headwater.errors import CurvatureError
from headwater.forms import Gradients, Materialised
from headwater.linalg import widest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor

    from headwater.curvature.training_pass import TrainingPass

# Rows of the matrix that are computed at a time.
_ROWS = 256


@dataclass(frozen=True)
class Exact(Curvature):
    """The Gauss-Newton matrix or the Hessian, P x P numbers for P parameters: for small models.

    Takes P products with the curvature, 8 P^2 bytes twice, and a factorisation of P^3 / 3 steps.

    Attributes:
        matrix: "gauss_newton", which has no negative eigenvalues for a convex loss, or "hessian".
            The two are the same for a model that is linear in its parameters.
        damping: what is added to the diagonal: a share of the mean eigenvalue, or a number. For a
            model that was trained to its optimum with weight decay, that is the number.
    """

    matrix: Matrix = "gauss_newton"
    _: KW_ONLY
    damping: Damping = field(default_factory=RelativeDamping)

    def __post_init__(self) -> None:
        checked_matrix(self.matrix)
        checked_damping(self.damping)

    def fit(self, training: TrainingPass) -> Inverse:
        products = Products(training, self.matrix)
        size = products.numbers
        needed = 2 * 8 * size**2
        if needed > training.budget:
            raise CurvatureError(
                f"an exact curvature of {size} parameters takes {needed / 2**30:.1f} GB, above the "
                f"memory budget of {training.budget / 2**30:.1f} GB; use EKFAC(), or for a few "
                f"queries GaussNewtonCG(), or select fewer layers, or raise memory_budget"
            )
        device = next(training.net.parameters()).device
        total, count = torch.zeros(size, size, dtype=widest(device), device=device), 0
        for _, batch in training.batches(stage=f"exact {self.matrix}"):
            for start in range(0, size, _ROWS):
                stop = min(start + _ROWS, size)
                rows = torch.zeros(stop - start, size, dtype=total.dtype, device=device)
                rows[:, start:stop].fill_diagonal_(1)
                found, examples = products.of_batch(batch, rows)
                total[start:stop] += found
            count += examples
        total /= max(1, count)
        return DenseInverse((total + total.mT) / 2, training.shapes, self.damping, self.matrix)


class DenseInverse(Inverse):
    """(G + damping)^-1 by a Cholesky factor.

    Args:
        matrix: G.
        shapes: the shape of every selected parameter.
        damping: what is added to the diagonal.
        name: what G is.

    Raises:
        CurvatureError: what there is to be inverted isn't positive definite.
    """

    def __init__(
        self,
        matrix: Float[Tensor, "P P"],
        shapes: Mapping[str, torch.Size],
        damping: Damping,
        name: Matrix,
    ) -> None:
        self._shapes = shapes
        self._name = name
        self._damping = damping
        if not bool(matrix.count_nonzero()):
            raise no_curvature()
        self._mean = float(matrix.diagonal().mean())
        self._added = amount(damping, self._mean)
        damped = matrix.clone()
        damped.diagonal().add_(self._added)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if bool(failed):
            lowest = float(torch.linalg.eigvalsh(matrix)[0])
            raise CurvatureError(
                f"the {name} matrix has an eigenvalue of {lowest:.3g} and the damping is "
                f"{self._added:.3g}, so that it can't be inverted; pass a larger damping"
                + (", or matrix='gauss_newton'" if name == "hessian" else "")
            )
        self._factor = factor

    @property
    def numbers(self) -> int:
        return len(self._factor)

    def aligned(self, gradients: Gradients, checkpoint: int) -> Gradients:
        block = tuple(self._shapes)
        if set(gradients.forms) == {block}:
            return gradients
        written = Materialised(as_vectors(gradients, self._shapes))
        return Gradients({block: written}, gradients.batch_size, gradients.like)

    def solve(self, gradients: Gradients) -> Gradients:
        ((block, form),) = gradients.forms.items()
        vectors = form.materialise().to(self._factor.dtype)
        solved = torch.cholesky_solve(vectors.mT, self._factor).mT
        back = Materialised(solved.to(gradients.like.dtype))
        return Gradients({block: back}, gradients.batch_size, gradients.like)

    def quadratic(self, gradients: Gradients) -> Float[Tensor, " B"]:
        (form,) = gradients.forms.values()
        vectors = form.materialise().to(self._factor.dtype)
        half: Tensor = torch.linalg.solve_triangular(self._factor, vectors.mT, upper=False)
        return half.square_().sum(dim=0).to(gradients.like.dtype)

    @property
    def description(self) -> str:
        return (
            f"exact {self._name} matrix of {self.numbers} parameters, mean eigenvalue "
            f"{self._mean:.3g}\n"
            f"damping: {reason(self._damping, 'the matrix')}: {self._added:.3g}"
        )
