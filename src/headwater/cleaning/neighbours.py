"""The nearest training examples of every one, and what their labels say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headwater.cleaning.features import unit_rows

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Of larger sets a sample of this size is looked through: the cost is N times this.
REFERENCES = 50_000
_ROWS = 256


@dataclass(frozen=True)
class Neighbours:
    """The k nearest other examples of each, nearest first.

    Attributes:
        indices: their places.
        similarity: the cosine of the angle between their features, -1 to 1.
    """

    indices: Int[Tensor, "N k"]
    similarity: Float[Tensor, "N k"]

    def votes(self, labels: Int[Tensor, " N"], classes: int) -> Float[Tensor, "N K"]:
        """By class, the share of the neighbours that have its label; rows sum to 1."""
        given = labels[self.indices]
        weights = torch.full(given.shape, 1 / max(1, given.shape[1]))
        return torch.zeros(len(given), classes).scatter_add_(1, given, weights)


def nearest(features: Float[Tensor, "N D"], k: int) -> Neighbours:
    """Every example's nearest others, by the cosine of their centred features.

    Memory: a copy of the features, and 256 * min(N, 50,000) numbers. Of more than 50,000 examples,
    the others are looked for among a random sample of that many.

    Args:
        features: a row per example.
        k: how many; fewer where there are fewer others.
    """
    count = len(features)
    rows = unit_rows(features)
    places = torch.arange(count)
    if count > REFERENCES:
        generator = torch.Generator().manual_seed(0)
        places = torch.randperm(count, generator=generator)[:REFERENCES].sort().values
    others = rows[places]
    k = max(0, min(k, len(places) - 1))
    found, values = [], []
    for start in range(0, count, _ROWS):
        block = rows[start : start + _ROWS]
        similarity = block @ others.T
        own = torch.arange(start, start + len(block))
        similarity.masked_fill_(places[None, :] == own[:, None], -torch.inf)
        top = similarity.topk(k, dim=1)
        found.append(places[top.indices])
        values.append(top.values)
    empty = torch.zeros(0, k)
    return Neighbours(torch.cat(found or [empty.long()]), torch.cat(values or [empty]))


def conflicting_twins(
    neighbours: Neighbours, labels: Int[Tensor, " N"], *, at_least: float
) -> Int[Tensor, " N"]:
    """By example, its nearest near-duplicate under another label; -1 where there is none.

    Args:
        neighbours: of every example.
        labels: the given ones.
        at_least: from which similarity on two examples are near-duplicates.
    """
    if not neighbours.indices.shape[1]:
        return torch.full((len(labels),), -1)
    other = labels[neighbours.indices] != labels[:, None]
    twins = other & (neighbours.similarity >= at_least)
    first = twins.int().argmax(dim=1, keepdim=True)
    found = neighbours.indices.gather(1, first)[:, 0]
    return torch.where(twins.any(dim=1), found, torch.full_like(found, -1))
