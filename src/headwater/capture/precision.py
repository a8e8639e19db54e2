"""The precision that gradients of single examples are held in."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor


def multiplies_faster(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a device multiplies matrices of a precision with fewer bits faster than float32.

    Not float16: numbers of an example's gradient may be too large or too small for it.
    """
    if dtype != torch.bfloat16:
        return False
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Elsewhere products in bfloat16 take many times as long.
    return device.type == "cpu" and _has_tiles()


@cache
def _has_tiles() -> bool:
    # Of torch's own names, which may change.
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return supported is not None and bool(supported())


def held_dtype(parameters: Iterable[Tensor]) -> torch.dtype:
    """The parameters' own dtype, all together, and float32 at the least."""
    dtype = torch.float32
    for parameter in parameters:
        dtype = torch.promote_types(dtype, parameter.dtype)
    return dtype
