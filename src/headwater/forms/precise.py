"""Numbers in a precision that has bits enough to be added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def accumulating(dtype: torch.dtype) -> torch.dtype:
    """The precision in which numbers of a precision are added up: float32 at the least."""
    return torch.promote_types(dtype, torch.float32)


def precise(tensor: Tensor) -> Tensor:
    """The tensor in the precision in which its numbers are added up."""
    dtype = accumulating(tensor.dtype)
    return tensor if tensor.dtype == dtype else tensor.to(dtype)
