"""Inverses of damped Gram matrices, by Cholesky factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from headwater.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

# Of the mean of the eigenvalues that can be other than 0. Directions in which the data varies less
# than that are dampened rather than blown up: they are mostly noise.
AUTO_DAMPING = 0.1


@dataclass(frozen=True)
class DampedGram:
    """A Gram matrix G plus `damping` times the identity, of which products with the inverse count.

    Attributes:
        factor: the lower Cholesky factor of G + damping, in float64.
        damping: in the unit of G's eigenvalues.
    """

    factor: Float[Tensor, "D D"]
    damping: float

    def solve(self, vectors: Float[Tensor, "Q D"]) -> Float[Tensor, "Q D"]:
        """(G + damping)^-1 v for every row v, in the dtype of the rows."""
        solved = torch.cholesky_solve(vectors.mT.to(self.factor.dtype), self.factor)
        return solved.mT.to(vectors.dtype)

    def quadratic(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """v^T (G + damping)^-1 v for every row v."""
        whitened = torch.linalg.solve_triangular(
            self.factor, vectors.mT.to(self.factor.dtype), upper=False
        )
        squares: Tensor = whitened.square().sum(dim=0).to(vectors.dtype)
        return squares


def damped_gram(
    gram: Float[Tensor, "D D"], damping: float | Literal["auto"], *, examples: int, name: str
) -> DampedGram:
    """The Gram matrix, damped and factored.

    Args:
        gram: symmetric, with no negative eigenvalue but for rounding; float64.
        damping: in the unit of its eigenvalues; "auto" takes 0.1 times the mean of the
            min(examples, D) largest, outside of which all are 0. So it doesn't fall when D is
            raised beyond the number of examples.
        examples: of how many vectors it is the Gram matrix.
        name: what it belongs to, for messages.

    Raises:
        InputError: the damped matrix isn't positive definite, so that it has no such inverse.
    """
    amount = damping_of(float(gram.trace()), damping, examples=examples, dim=len(gram))
    damped = gram.clone()
    damped.diagonal().add_(amount)
    factor, failed = torch.linalg.cholesky_ex(damped)
    if int(failed) and not gram.any():
        raise InputError(
            f"{name} are zero for all {examples} training examples, so that "
            f"damping='auto', a share of their size, is zero too; leave it out (layers=[...]), or "
            f"give a damping"
        )
    if int(failed):
        raise InputError(
            f"the {len(gram)} x {len(gram)} matrix of inner products of {name} has no inverse at "
            f"damping={damping!r}: that takes {len(gram)} independent gradients, and the "
            f"{examples} training examples have fewer; set damping to 'auto', raise it, or lower "
            f"dim"
        )
    return DampedGram(factor, amount)


def damping_of(trace: float, damping: float | Literal["auto"], *, examples: int, dim: int) -> float:
    """The damping of a Gram matrix that has this trace; arguments as for `damped_gram`."""
    if damping == "auto":
        return AUTO_DAMPING * trace / max(1, min(examples, dim))
    return float(damping)


def refuse_odd_damping(damping: float | str) -> None:
    """Raises InputError for what is neither 'auto' nor a finite number of at least 0."""
    number = isinstance(damping, (int, float)) and not isinstance(damping, bool)
    if damping == "auto" or (number and 0 <= float(damping) < float("inf")):
        return
    raise InputError(f"damping is {damping!r}; expected 'auto' or a finite number of at least 0")
