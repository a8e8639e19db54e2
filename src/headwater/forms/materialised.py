"""Gradients written out in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from headwater.forms.form import Form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class Materialised(Form):
    """Each example's gradient as one row of numbers, in the order of the parameters' storage."""

    gradients: Float[Tensor, "B P"]

    @property
    def batch_size(self) -> int:
        return self.gradients.shape[0]

    @property
    def positions(self) -> int:
        return 1

    @property
    def numbers(self) -> int:
        return self.gradients.shape[1]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.gradients,)

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> Materialised:
        return Materialised(*tensors)

    def squared_norm(self) -> Float[Tensor, " B"]:
        norms: Tensor = torch.linalg.vector_norm(self.gradients, dim=1)
        return norms.square()

    def materialise(self) -> Float[Tensor, "B P"]:
        return self.gradients

    def weighted_sum(self, weights: Float[Tensor, " B"]) -> Float[Tensor, " P"]:
        return weights @ self.gradients

    def magnitudes(self) -> Materialised:
        return Materialised(self.gradients.abs())

    @classmethod
    def cat(cls, forms: Sequence[Materialised]) -> Materialised:
        return Materialised(torch.cat([form.gradients for form in forms]))

    def split(self, sizes: Sequence[int]) -> list[Form]:
        return [Materialised(part) for part in self.gradients.split(list(sizes), dim=1)]
