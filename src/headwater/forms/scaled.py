"""Gradients times a number each, which is multiplied in after the product and not before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from headwater.forms.around import Around
from headwater.forms.form import Form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class Scaled(Around):
    """Example b's gradient in another form, times `factors[b]`.

    Products and norms are those of the other form, scaled: a pass over B numbers per query where
    scaling the gradient itself would be one over all of its numbers.
    """

    form: Form
    factors: Float[Tensor, " B"]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.form.tensors, self.factors)

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> Scaled:
        return Scaled(self.form.with_tensors(tensors[:-1]), tensors[-1])

    def squared_norm(self) -> Float[Tensor, " B"]:
        return self.form.squared_norm() * self.factors.square()

    def materialise(self) -> Float[Tensor, "B P"]:
        return self.form.materialise() * self.factors[:, None]

    def weighted_sum(self, weights: Float[Tensor, " B"]) -> Float[Tensor, " P"]:
        return self.form.weighted_sum(weights * self.factors)

    def magnitudes(self) -> Scaled:
        return Scaled(self.form.magnitudes(), self.factors.abs())

    @classmethod
    def cat(cls, forms: Sequence[Scaled]) -> Scaled:
        inner = type(forms[0].form).cat([scaled.form for scaled in forms])
        return Scaled(inner, torch.cat([scaled.factors for scaled in forms]))

    def split(self, sizes: Sequence[int]) -> list[Form]:
        return [Scaled(part, self.factors) for part in self.form.split(sizes)]
