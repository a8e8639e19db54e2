"""About how many given labels are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def estimated_wrong(likely: Float[Tensor, "N K"], labels: Int[Tensor, " N"]) -> int:
    """How many examples are more likely of another class than that class's own examples are.

    The threshold of a class is the mean probability of it among the examples that have its label;
    an example counts if one other class passes its threshold, and the given one doesn't, or less.

    Source: Northcutt et al. (2021), arXiv 1911.00068, equations 1 and 2.
    """
    classes = likely.shape[1]
    own = likely.gather(1, labels[:, None])[:, 0].double()
    sums = torch.zeros(classes, dtype=torch.float64).index_add_(0, labels, own)
    sizes = torch.bincount(labels, minlength=classes)
    thresholds = torch.where(sizes > 0, sums / sizes.clamp_min(1), torch.inf)
    passing = torch.where(likely >= thresholds[None], likely.double(), -torch.inf)
    best, place = passing.max(dim=1)
    return int(((best > -torch.inf) & (place != labels)).sum())
