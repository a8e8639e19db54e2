"""Conjugate gradients: the exact solution for each query, by passes over the training data."""

from __future__ import annotations

import warnings
from contextlib import closing
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
from headwater.curvature.products import Products, no_curvature
from headwater.curvature.vectors import as_vectors, by_parameter, in_blocks
from headwater.errors import CurvatureError, HeadwaterWarning
from headwater.linalg import counter_uniform

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from headwater.curvature.training_pass import TrainingPass
    from headwater.forms import Gradients

# Random vectors that a trace is estimated from.
_PROBES = 16
_THE_MATRIX = f"the matrix (an estimate by {_PROBES} products with random signs)"


@dataclass(frozen=True)
class GaussNewtonCG(Curvature):
    """(G + damping) v = g solved by conjugate gradients, G the Gauss-Newton matrix.

    A pass over the training data per step, for all queries at once: for few queries to models that
    are too large for `Exact`. Self-influence solves once for each training example.

    Attributes:
        tolerance: of the residual, as a share of g.
        max_steps: after which a solution is taken as it is, with a warning.
        damping: what is added to the diagonal: a share of the mean eigenvalue, or a number.

    Source: Koh and Liang (2017), arXiv 1703.04730, section 3; Martens (2010), "Deep learning via
    Hessian-free optimization".
    """

    _: KW_ONLY
    tolerance: float = 1e-5
    max_steps: int = 100
    damping: Damping = field(default_factory=RelativeDamping)

    def __post_init__(self) -> None:
        checked_damping(self.damping)
        if not 0 < self.tolerance < 1:
            raise CurvatureError(
                f"tolerance is {self.tolerance!r}; expected a number between 0 and 1"
            )
        if not isinstance(self.max_steps, int) or self.max_steps < 1:
            raise CurvatureError(f"max_steps is {self.max_steps!r}; expected an int of at least 1")

    def fit(self, training: TrainingPass) -> Inverse:
        products = Products(training, "gauss_newton")
        # Settles how batches are read, and loads the weights that products are taken at.
        with closing(training.batches(stage="conjugate gradients")) as batches:
            next(batches, None)
        mean = 0.0
        if isinstance(self.damping, RelativeDamping):
            mean = mean_eigenvalue(products)
            if mean == 0:
                raise no_curvature()
        return ConjugateGradients(products, self, amount(self.damping, mean))


def mean_eigenvalue(products: Products) -> float:
    """The trace over the number of parameters, from products with random signs.

    Source: Hutchinson (1990), "A stochastic estimator of the trace of the influence matrix".
    """
    device = next(products.training.net.parameters()).device
    rows = torch.arange(_PROBES, device=device)
    columns = torch.arange(products.numbers, device=device)
    signs = torch.where(counter_uniform(0, rows, columns) < 0.5, -1.0, 1.0)
    signs = signs.to(next(products.training.net.parameters()).dtype)
    return float((signs * products.mean(signs)).sum() / signs.numel())


class ConjugateGradients(Inverse):
    """(G + added)^-1 g, to a tolerance.

    Args:
        products: with G.
        options: when to stop.
        added: what is added to the diagonal.
    """

    def __init__(self, products: Products, options: GaussNewtonCG, added: float) -> None:
        self._products = products
        self._options = options
        self._added = added
        self._shapes = products.training.shapes

    @property
    def numbers(self) -> int:
        return self._products.numbers

    def aligned(self, gradients: Gradients, checkpoint: int) -> Gradients:
        return by_parameter(gradients, self._shapes)

    def solve(self, gradients: Gradients) -> Gradients:
        vectors = as_vectors(gradients, self._shapes)
        solved = conjugate_gradients(
            lambda v: self._products.mean(v).add_(v, alpha=self._added),
            vectors,
            tolerance=self._options.tolerance,
            max_steps=self._options.max_steps,
        )
        return in_blocks(solved, [(n,) for n in self._shapes], self._shapes, gradients.like)

    def quadratic(self, gradients: Gradients) -> Float[Tensor, " B"]:
        solved = as_vectors(self.solve(gradients), self._shapes)
        return (solved * as_vectors(gradients, self._shapes)).sum(dim=1)

    @property
    def description(self) -> str:
        return (
            f"Gauss-Newton matrix of {self.numbers} parameters by conjugate gradients, to a "
            f"residual of {self._options.tolerance:g} or {self._options.max_steps} steps\n"
            f"damping: {reason(self._options.damping, _THE_MATRIX)}: {self._added:.3g}"
        )


def conjugate_gradients(
    multiply: Callable[[Tensor], Tensor],
    right: Float[Tensor, "Q P"],
    *,
    tolerance: float,
    max_steps: int,
) -> Float[Tensor, "Q P"]:
    """The solutions of Q systems with one symmetric positive definite matrix.

    Args:
        multiply: every row times the matrix.
        right: the right-hand sides.
        tolerance: of each residual's norm, as a share of the right-hand side's.
        max_steps: after which the solutions are taken as they are, with a warning.
    """
    solution, residual = torch.zeros_like(right), right.clone()
    direction, square = residual.clone(), residual.square().sum(dim=1)
    enough = tolerance**2 * square
    for _ in range(max_steps):
        open_rows = (square > enough).nonzero()[:, 0]
        if not len(open_rows):
            return solution
        along = direction[open_rows]
        product = multiply(along)
        step = square[open_rows] / (along * product).sum(dim=1)
        solution[open_rows] += step[:, None] * along
        residual[open_rows] -= step[:, None] * product
        fresh = residual[open_rows].square().sum(dim=1)
        direction[open_rows] = residual[open_rows] + (fresh / square[open_rows])[:, None] * along
        square[open_rows] = fresh
    left = float((square / enough.clamp(min=torch.finfo(square.dtype).tiny)).max().sqrt())
    if left > 1:
        warnings.warn(
            f"conjugate gradients stopped after {max_steps} steps with a residual of "
            f"{left * tolerance:.1e} of the gradient, above the tolerance of {tolerance:g}; raise "
            f"max_steps, tolerance or damping",
            HeadwaterWarning,
            stacklevel=2,
        )
    return solution
