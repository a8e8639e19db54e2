"""Features that examples are compared by, short enough to be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

# Numbers per example over all checkpoints, and of its inputs.
_WIDTH = 1024
_INPUT_WIDTH = 512
_SHORTEST = 8
_NUMBER_BYTES = 4


class Shortened:
    """Rows of features, projected to `dim` numbers where they are longer.

    A random projection keeps angles up to about 1 / sqrt(dim).
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._matrices: dict[int, Tensor] = {}

    def __call__(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        width = features.shape[1]
        if width <= self.dim:
            return features.clone()
        if width not in self._matrices:
            generator = torch.Generator().manual_seed(0)
            drawn = torch.randn(width, self.dim, generator=generator)
            self._matrices[width] = drawn / self.dim**0.5
        return features @ self._matrices[width]


def lengths(count: int | None, checkpoints: int, budget: int) -> tuple[int, int]:
    """How many numbers of an example's features at a checkpoint, and of its inputs, are kept.

    Args:
        count: of the examples, where it is known.
        checkpoints: how many there are.
        budget: bytes that all of them together may take.
    """
    fitting = _WIDTH if count is None else budget // (2 * _NUMBER_BYTES * max(1, count))
    each = min(_WIDTH, fitting) // checkpoints
    return max(_SHORTEST, each), max(_SHORTEST, min(_INPUT_WIDTH, fitting))


def side_by_side(features: Sequence[Float[Tensor, "N D"]]) -> Float[Tensor, "N E"]:
    """The features at all checkpoints, each centred and of length 1, as one row per example."""
    return torch.cat([unit_rows(each) for each in features], dim=1)


def unit_rows(features: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    """The features with their mean taken off, as rows of length 1."""
    rows = features - features.mean(dim=0)
    norms = rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    scaled: Tensor = rows / norms
    return scaled
