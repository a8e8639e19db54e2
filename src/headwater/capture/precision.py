"""The precision that gradients of single examples are held in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor


def held_dtype(parameters: Iterable[Tensor]) -> torch.dtype:
    """The parameters' own dtype, all together, and float32 at the least."""
    dtype = torch.float32
    for parameter in parameters:
        dtype = torch.promote_types(dtype, parameter.dtype)
    return dtype
