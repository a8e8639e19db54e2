"""Gradients of layers that a model computes in bfloat16, on hardware made for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.forms.around import Around
from headwater.forms.form import Form
from headwater.forms.precise import precise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms.convolved import Convolved
    from headwater.forms.factored import Factored


@dataclass(frozen=True)
class Reduced(Around):
    """A form with factors in bfloat16, whose gradients are written out by products in bfloat16.

    Each number of a gradient is a sum that the hardware adds up in float32 and rounds once, as it
    is in the gradient that autograd computes of the example alone. Gradients are met by queries,
    and squared, in float32. What else is asked for is answered by `widened`.

    Attributes:
        form: has several positions.
    """

    form: Factored | Convolved

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.form.tensors

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> Reduced:
        return Reduced(self.form.with_tensors(tensors))

    def widened(self) -> Factored | Convolved:
        """The form with its factors in float32."""
        return self.form.with_tensors(tuple(map(precise, self.form.tensors)))

    def squared_norm(self) -> Float[Tensor, " B"]:
        return self.form.squared_norm()

    def materialise(self) -> Float[Tensor, "B P"]:
        return self.form.materialise()

    def weighted_sum(self, weights: Float[Tensor, " B"]) -> Float[Tensor, " P"]:
        return self.widened().weighted_sum(weights)

    def magnitudes(self) -> Reduced:
        return Reduced(self.form.magnitudes())

    @classmethod
    def cat(cls, forms: Sequence[Reduced]) -> Reduced:
        inner = [reduced.form for reduced in forms]
        return Reduced(type(inner[0]).cat(inner))  # type: ignore[arg-type]

    def split(self, sizes: Sequence[int]) -> list[Form]:
        return self.widened().split(sizes)
