"""One ranking out of several signals, without knowing any true label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float


def ranks(signal: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Each entry's rank as a share, 0 the lowest to 1 the highest; equals share their mean rank."""
    _, inverse, counts = signal.double().unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).double()
    middle = ends - (counts.double() + 1) / 2
    shares: Tensor = middle[inverse] / max(1, len(signal) - 1)
    return shares


def mean_ranks(signals: Mapping[str, Float[Tensor, " N"]]) -> Float[Tensor, " N"]:
    """The mean of the signals' ranks."""
    return torch.stack([ranks(signal) for signal in signals.values()]).mean(dim=0)
