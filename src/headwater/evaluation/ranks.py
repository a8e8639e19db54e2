"""Rank correlations, also of samples in which entries count several times or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class Ranked:
    """Rows of numbers, sorted once, to be ranked under any counts of their entries.

    Args:
        values: of shape (R, M); each row is ranked by itself.
    """

    def __init__(self, values: Float[Tensor, "R M"]) -> None:
        # By row, the number of the group of equal values that an entry is in, in ascending order.
        ordered, order = values.sort(dim=1)
        new = torch.zeros_like(order)
        new[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).long()
        self.groups = torch.empty_like(order).scatter_(1, order, new.cumsum(dim=1))

    def ranks(self, counts: Float[Tensor, " M"]) -> Float[Tensor, "R M"]:
        """The mean rank, from 1, of each entry among `counts[m]` copies of every entry m."""
        each = counts.expand(self.groups.shape)
        sizes = torch.zeros_like(each).scatter_add_(1, self.groups, each)
        ranks = sizes.cumsum(dim=1) - sizes + (sizes + 1) / 2
        return ranks.gather(1, self.groups)


def pearson(
    left: Float[Tensor, "R M"],
    right: Float[Tensor, "R M"],
    counts: Float[Tensor, " M"] | None = None,
) -> Float[Tensor, " R"]:
    """The correlation of each pair of rows; 0 where a row is constant, since it says nothing.

    Args:
        left, right: the rows.
        counts: how often each entry counts; None for once.
    """
    weights = torch.ones(left.shape[1], dtype=left.dtype) if counts is None else counts
    total = weights.sum()
    left = left - (left * weights).sum(dim=1, keepdim=True) / total
    right = right - (right * weights).sum(dim=1, keepdim=True) / total
    variances = (left.square() * weights).sum(dim=1), (right.square() * weights).sum(dim=1)
    product = (left * right * weights).sum(dim=1)
    size = (variances[0] * variances[1]).sqrt()
    return torch.where(size > 0, product / size.clamp(min=torch.finfo(size.dtype).tiny), 0.0)


def spearman(left: Float[Tensor, "R M"], right: Float[Tensor, "R M"]) -> Float[Tensor, " R"]:
    """The rank correlation of each pair of rows, ties at their mean rank; 0 for a constant row."""
    once = torch.ones(left.shape[1], dtype=torch.float64)
    return pearson(Ranked(left).ranks(once), Ranked(right).ranks(once))


def descending(scores: Float[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Places from the highest score to the lowest; ties go to the lower place."""
    return scores.argsort(descending=True, stable=True)
