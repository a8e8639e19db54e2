"""Gaussian projections: dense random maps whose dot products estimate those of what they map."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def draw_gaussian(dim: int, size: int, *, key: str, like: Tensor) -> Float[Tensor, "D n"]:
    """The matrix P that belongs to a key, with E[P^T P] = 1: <Px, Py> has the mean <x, y>.

    The same in every process and on every device.

    Args:
        dim: the number of rows D.
        size: the number of columns n.
        key: a text; matrices of different keys are independent. No global generator is touched.
        like: a tensor of the dtype and on the device that the matrix is for.
    """
    digest = hashlib.sha256(key.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    drawn = torch.randn(dim, size, generator=generator, dtype=torch.float64) / dim**0.5
    matrix: Tensor = drawn.to(like.dtype).to(like.device)
    return matrix
