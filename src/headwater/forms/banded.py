"""Gradients of convolution kernels written out offset by offset along the kernel's first axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from headwater.forms.form import Form
from headwater.forms.materialised import Materialised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class Banded(Form):
    """Each example's gradient of a kernel, in the order in which `Convolved` computes it.

    Products between gradients of this order need no copy in the order of the parameters.

    Attributes:
        gradients: K offsets along the kernel's first axis; O output channels; C input channels
            times the kernel's further offsets.
        biases: the bias's gradients, where they belong to the block.
        kernel: the shape of a kernel of one output channel, (C, K, ...).
    """

    gradients: Float[Tensor, "B K O M"]
    biases: Float[Tensor, "B O"] | None
    kernel: tuple[int, ...]

    @property
    def batch_size(self) -> int:
        return self.gradients.shape[0]

    @property
    def positions(self) -> int:
        return 1

    @property
    def numbers(self) -> int:
        return sum(tensor[0].numel() for tensor in self.tensors)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.gradients,) if self.biases is None else (self.gradients, self.biases)

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> Banded:
        gradients, *biases = tensors
        return Banded(gradients, biases[0] if biases else None, self.kernel)

    def squared_norm(self) -> Float[Tensor, " B"]:
        # Offset by offset: the first two axes may lie in memory the other way round.
        offsets = range(self.gradients.shape[1])
        bands = [torch.linalg.vector_norm(self.band(offset), dim=1) for offset in offsets]
        norms = torch.stack(bands).square_().sum(dim=0)
        if self.biases is None:
            return norms
        return norms.add_(torch.linalg.vector_norm(self.biases, dim=1).square_())

    def band(self, offset: int) -> Float[Tensor, "B OM"]:
        """The entries at an offset along the kernel's first axis."""
        return self.gradients[:, offset].flatten(1)

    def materialise(self) -> Float[Tensor, "B P"]:
        by_channel = self.gradients.unflatten(3, (self.kernel[0], -1))
        weight = by_channel.permute(0, 2, 3, 1, 4).flatten(1)
        return weight if self.biases is None else torch.cat([weight, self.biases], dim=1)

    def weighted_sum(self, weights: Float[Tensor, " B"]) -> Float[Tensor, " P"]:
        parts = ((weights @ part.flatten(1)).view(1, *part.shape[1:]) for part in self.tensors)
        return self.with_tensors(tuple(parts)).materialise()[0]

    def magnitudes(self) -> Banded:
        return self.with_tensors(tuple(tensor.abs() for tensor in self.tensors))

    @classmethod
    def cat(cls, forms: Sequence[Banded]) -> Banded:
        parts = zip(*(form.tensors for form in forms), strict=True)
        return forms[0].with_tensors(tuple(torch.cat(tensors) for tensors in parts))

    def split(self, sizes: Sequence[int]) -> list[Form]:
        return Materialised(self.materialise()).split(sizes)
