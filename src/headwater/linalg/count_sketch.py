"""Count sketches: every coordinate is added, with a random sign, to one of D numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class CountSketch:
    """A random linear map of n coordinates to D numbers with one entry of ±1 per coordinate.

    <Sx, Sy> has the mean <x, y> and the variance (|x|^2 |y|^2 + <x, y>^2 - 2 sum x_i^2 y_i^2) / D.

    Attributes:
        buckets: where each coordinate goes, in [0, D).
        signs: what it is multiplied by, 1 or -1.
        dim: D.

    Source: Charikar, Chen and Farach-Colton (2002), "Finding frequent items in data streams".
    """

    buckets: Int[Tensor, " n"]
    signs: Float[Tensor, " n"]
    dim: int

    def __call__(self, vectors: Float[Tensor, "*b n"]) -> Float[Tensor, "*b D"]:
        """The sketches of vectors, in their dtype."""
        sketches = vectors.new_zeros(*vectors.shape[:-1], self.dim)
        return sketches.scatter_add_(-1, self.buckets.expand(vectors.shape), vectors * self.signs)


def draw_count_sketch(size: int, dim: int, *, key: str, like: Tensor) -> CountSketch:
    """The count sketch that belongs to a key: the same in every process and on every device.

    Args:
        size: the number of coordinates n.
        dim: the number of buckets D.
        key: a text; sketches of different keys are independent. No global generator is touched.
        like: a tensor of the dtype and on the device that the sketch is for.
    """
    digest = hashlib.sha256(key.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    buckets = torch.randint(dim, (size,), generator=generator)
    signs = torch.randint(2, (size,), generator=generator) * 2 - 1
    return CountSketch(buckets.to(like.device), signs.to(like.dtype).to(like.device), dim)
