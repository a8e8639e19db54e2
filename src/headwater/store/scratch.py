"""Memory that stored numbers are converted into, piece after piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


class Scratch:
    """Conversions to another dtype, each kept only until the next of the same name.

    New memory for every piece of a few megabytes would come from the system page by page, zeroed,
    and cost more than the conversion; memory that is used again is in cache besides.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def converted(self, name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """The tensor in a dtype: itself, or a copy that the next call with this name overwrites.

        Args:
            name: of the tensor that this is a piece of.
            tensor: the piece, of shape (B, ...).
            dtype: to convert to.
        """
        if tensor.dtype == dtype:
            return tensor
        kept = self._kept.get(name)
        if (
            kept is None
            or kept.dtype != dtype
            or kept.shape[1:] != tensor.shape[1:]
            or len(kept) < len(tensor)
        ):
            kept = self._kept[name] = torch.empty(tensor.shape, dtype=dtype)
        return kept[: len(tensor)].copy_(tensor)
