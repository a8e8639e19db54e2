"""A query's scores added up: how few examples carry them, and of which groups they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

_POINTS = 60


@dataclass(frozen=True)
class Cumulative:
    """How much of the absolute influence the strongest examples carry together.

    Attributes:
        half: how many carry half of it.
        counts: numbers of examples, ascending.
        shares: what the strongest that many carry, 0 to 1.
    """

    half: int
    counts: list[int]
    shares: list[float]


def cumulative(scores: Float[Tensor, " N"]) -> Cumulative:
    """The curve of one query's scores."""
    sizes = scores.double().abs().sort(descending=True).values
    total = float(sizes.sum())
    if not total:
        return Cumulative(0, [], [])
    carried = sizes.cumsum(dim=0) / total
    half = int((carried < 0.5).sum()) + 1
    # Dense at the beginning, where the curve bends.
    spaced = torch.logspace(0, torch.log10(torch.tensor(float(len(sizes)))).item(), _POINTS)
    counts = sorted({1, half, len(sizes), *spaced.round().long().clamp(1, len(sizes)).tolist()})
    return Cumulative(half, counts, [float(carried[count - 1]) for count in counts])


@dataclass(frozen=True)
class GroupShare:
    """What the training examples of a group add up to.

    Attributes:
        group: its name.
        size: how many they are.
        positive: the sum of their positive scores.
        negative: the sum of their negative scores, at most 0.
    """

    group: Any
    size: int
    positive: float
    negative: float


def by_group(
    scores: Float[Tensor, " N"], of_each: Int[Tensor, " N"], groups: Sequence[Any]
) -> list[GroupShare]:
    """The sums of one query's scores by group, the most influential group first."""
    sizes = torch.bincount(of_each, minlength=len(groups)).tolist()
    none = torch.zeros(len(groups), dtype=torch.float64)
    own = scores.double()
    sums = [none.index_add(0, of_each, part) for part in (own.clamp_min(0), own.clamp_max(0))]
    found = [
        GroupShare(group, size, positive, negative)
        for group, size, positive, negative in zip(
            groups, sizes, sums[0].tolist(), sums[1].tolist(), strict=True
        )
    ]
    return sorted(found, key=lambda one: one.negative - one.positive)
