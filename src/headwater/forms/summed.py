"""Gradients of a parameter that several modules use: the sum over its uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from headwater.forms.form import Form
from headwater.forms.lookup import paired_dot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class Summed(Form):
    """The sum of several forms of the same block; products keep all the cross terms.

    An embedding tied to the output head is the common case: its gradient is a `Rows` plus a
    `Factored`, and <a + b, a' + b'> needs all four products.
    """

    parts: tuple[Form, ...]

    @property
    def batch_size(self) -> int:
        return self.parts[0].batch_size

    @property
    def positions(self) -> int:
        return sum(part.positions for part in self.parts)

    @property
    def numbers(self) -> int:
        return self.parts[0].numbers

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(tensor for part in self.parts for tensor in part.tensors)

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> Summed:
        parts, start = [], 0
        for part in self.parts:
            stop = start + len(part.tensors)
            parts.append(part.with_tensors(tensors[start:stop]))
            start = stop
        return Summed(tuple(parts))

    def squared_norm(self) -> Float[Tensor, " B"]:
        total = torch.stack([part.squared_norm() for part in self.parts]).sum(dim=0)
        for index, part in enumerate(self.parts):
            for other in self.parts[index + 1 :]:
                total = total + 2 * paired_dot(part, other)
        return total

    def materialise(self) -> Float[Tensor, "B P"]:
        return torch.stack([part.materialise() for part in self.parts]).sum(dim=0)

    def weighted_sum(self, weights: Float[Tensor, " B"]) -> Float[Tensor, " P"]:
        return torch.stack([part.weighted_sum(weights) for part in self.parts]).sum(dim=0)

    def magnitudes(self) -> Summed:
        return Summed(tuple(part.magnitudes() for part in self.parts))

    @classmethod
    def cat(cls, forms: Sequence[Summed]) -> Summed:
        by_part = zip(*(form.parts for form in forms), strict=True)
        return Summed(tuple(type(parts[0]).cat(parts) for parts in by_part))

    def split(self, sizes: Sequence[int]) -> list[Form]:
        by_part = [part.split(sizes) for part in self.parts]
        return [Summed(forms) for forms in zip(*by_part, strict=True)]
