"""One ranking out of several signals, without knowing any true label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float

# Signals of one kind are wrong about the same examples, and have one voice together.
KINDS: tuple[tuple[str, ...], ...] = (
    ("loss", "margin", "self_influence"),
    ("neighbours",),
    ("probe",),
)


def ranks(signal: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Each entry's rank as a share, 0 the lowest to 1 the highest; equals share their mean rank."""
    _, inverse, counts = signal.double().unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).double()
    middle = ends - (counts.double() + 1) / 2
    shares: Tensor = middle[inverse] / max(1, len(signal) - 1)
    return shares


def combined(
    signals: Mapping[str, Float[Tensor, " N"]], kinds: Sequence[Sequence[str]] = KINDS
) -> Float[Tensor, " N"]:
    """The mean of the signals' ranks: first within each kind, then over the kinds.

    Args:
        signals: by name; what isn't there is left out.
        kinds: the names of those that are alike.
    """
    voices = []
    for kind in kinds:
        there = [ranks(signals[name]) for name in kind if name in signals]
        if there:
            voices.append(ranks(torch.stack(there).mean(dim=0)))
    return torch.stack(voices).mean(dim=0)
