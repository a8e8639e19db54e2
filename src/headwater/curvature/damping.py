"""How much is added to every eigenvalue of a curvature before it is inverted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from headwater.errors import CurvatureError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RelativeDamping:
    """A share of the mean eigenvalue, layer by layer.

    The scale of curvature differs by orders of magnitude between layers, models and losses, so
    that no one number fits; its share does. Below the mean, most directions have next to no
    curvature: without damping, scores would be made of these alone.

    Args:
        factor: the share, above 0.

    Source: Grosse et al. (2023), arXiv 2308.03296, section 2.
    """

    factor: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.factor) and self.factor > 0):
            raise CurvatureError(f"factor is {self.factor!r}; expected a number above 0")


Damping: TypeAlias = float | RelativeDamping
"""A number that is added to all eigenvalues alike, or a share of the mean eigenvalue."""


def checked_damping(damping: object) -> Damping:
    """The damping, if it is one.

    Raises:
        CurvatureError: it is no number of at least 0 and no `RelativeDamping`.
    """
    if isinstance(damping, RelativeDamping):
        return damping
    number = isinstance(damping, (int, float)) and not isinstance(damping, bool)
    amount = float(damping) if number else math.nan  # type: ignore[arg-type]
    if not (math.isfinite(amount) and amount >= 0):
        raise CurvatureError(
            f"damping is {damping!r}; expected a number of at least 0, in the unit of the "
            f"curvature, or RelativeDamping(factor)"
        )
    return amount


def amount(damping: Damping, mean: float) -> float:
    """What is added to the eigenvalues of a block.

    Args:
        damping: the choice.
        mean: the block's mean eigenvalue.
    """
    return damping.factor * mean if isinstance(damping, RelativeDamping) else damping


def reason(damping: Damping, part: str) -> str:
    """The amount in words, and why.

    Args:
        damping: the choice.
        part: what the mean is taken over, "each layer" or "the matrix".
    """
    if isinstance(damping, RelativeDamping):
        return (
            f"{damping.factor:g} x the mean eigenvalue of {part}, since no one number fits the "
            f"curvature of every layer, model and loss (Grosse et al. 2023)"
        )
    return f"{damping:g} everywhere, as given"


def inverted(eigenvalues: Tensor, added: float, *, name: str) -> Tensor:
    """1 / (eigenvalue + what is added); zeros where a block has no curvature and nothing is added.

    Raises:
        CurvatureError: there is an eigenvalue of 0 among others, and nothing is added.
    """
    if added == 0 and not bool(eigenvalues.count_nonzero()):
        # No training example has a gradient there, so no score comes from it either.
        return eigenvalues.new_zeros(eigenvalues.shape)
    if added == 0 and not bool((eigenvalues > 0).all()):
        raise CurvatureError(
            f"{name} has an eigenvalue of 0, which can't be inverted without damping; pass "
            f"damping=RelativeDamping(), or a number above 0"
        )
    return 1 / (eigenvalues + added)
