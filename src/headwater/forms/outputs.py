"""Some of a layer's outputs, and the gradients of what belongs to them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from headwater.forms.around import Around
from headwater.forms.convolved import Convolved
from headwater.forms.factored import Factored
from headwater.forms.materialised import Materialised
from headwater.forms.reduced import Reduced
from headwater.forms.rows import Rows
from headwater.forms.scaled import Scaled
from headwater.forms.summed import Summed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms.form import Form


@dataclass(frozen=True)
class Outputs:
    """Some of the entries along one axis of a block's first parameter: outputs, or rows of a table.

    Of each further parameter, such as a bias, that is as long along its first axis, the same
    entries belong to them; one that isn't belongs to the last outputs.

    Attributes:
        first: the first of them.
        stop: the one after the last.
        axis: the axis that they lie along: 1 for weights that are stored by input, else 0.
        shapes: of the block's parameters.
    """

    first: int
    stop: int
    axis: int
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def all_of(cls, form: Form, shapes: tuple[tuple[int, ...], ...]) -> Outputs | None:
        """All outputs of a block, if its gradients are those of parameters of these shapes."""
        if not shapes or not shapes[0] or form.numbers != sum(map(math.prod, shapes)):
            return None
        by_input = isinstance(form, Factored) and form.layout == "io" and len(shapes[0]) == 2
        return cls(0, shapes[0][int(by_input)], int(by_input), shapes)

    @property
    def extent(self) -> int:
        """How many outputs the layer has."""
        return self.shapes[0][self.axis]

    def parted(self, parts: int) -> list[Outputs]:
        """About as many runs of them, of about equal length."""
        width = -(-(self.stop - self.first) // parts)
        return [
            replace(self, first=first, stop=min(first + width, self.stop))
            for first in range(self.first, self.stop, width)
        ]

    def of(self, form: Form) -> Form:
        """What belongs to them of a block's gradients; a view of them where that can be."""
        if isinstance(form, Scaled):
            return Scaled(self.of(form.form), form.factors)
        if isinstance(form, Reduced):
            found = self.of(form.form)
            return Reduced(found) if isinstance(found, (Factored, Convolved)) else found
        if isinstance(form, Summed):
            return Summed(tuple(self.of(part) for part in form.parts))
        if isinstance(form, Rows) and self.axis == 0 and form.table_rows == self.extent:
            return form.of_rows(self.first, self.stop)
        if isinstance(form, (Factored, Convolved)) and self._are_those_of(form):
            if form.groups == 1:
                return form.of_outputs(self.first, self.stop)
            if self.first % form.fan_out == self.stop % form.fan_out == 0:
                return form.of_groups(self.first // form.fan_out, self.stop // form.fan_out)
        return Materialised(self.of_written(form.materialise()))

    def of_written(self, gradients: Float[Tensor, "B P"]) -> Float[Tensor, "B p"]:
        """What belongs to them of a block's gradients that are written out."""
        sizes = [math.prod(shape) for shape in self.shapes]
        weight, *others = gradients.split(sizes, dim=1)
        by_axis = weight.unflatten(1, self.shapes[0])
        found = [by_axis.narrow(1 + self.axis, self.first, self.stop - self.first).flatten(1)]
        for other, shape in zip(others, self.shapes[1:], strict=True):
            if shape and shape[0] == self.extent:
                by_axis = other.unflatten(1, shape)
                found.append(by_axis[:, self.first : self.stop].flatten(1))
            elif self.stop == self.extent:
                found.append(other)
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    def _are_those_of(self, form: Factored | Convolved) -> bool:
        by_input = isinstance(form, Factored) and form.layout == "io"
        return self.axis == int(by_input) and form.groups * form.fan_out == self.extent


@dataclass(frozen=True)
class OfOutputs(Around):
    """What belongs to some of a layer's outputs, of queries whose gradients aren't held whole.

    Its products are with whole gradients of examples, of which nothing else counts.

    Attributes:
        form: the gradients, of these outputs alone.
        outputs: which.
    """

    form: Form
    outputs: Outputs

    @classmethod
    def held(cls, form: Form, outputs: Outputs) -> OfOutputs:
        """Of a whole block's gradients, in memory of their own, so that the rest can be freed."""
        found = outputs.of(form)
        own = (
            tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor
            for tensor in found.tensors
        )
        return cls(found.with_tensors(tuple(own)), outputs)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.form.tensors

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> OfOutputs:
        return replace(self, form=self.form.with_tensors(tensors))

    def squared_norm(self) -> Float[Tensor, " B"]:
        return self.form.squared_norm()

    def materialise(self) -> Float[Tensor, "B P"]:
        return self.form.materialise()

    def weighted_sum(self, weights: Float[Tensor, " B"]) -> Float[Tensor, " P"]:
        return self.form.weighted_sum(weights)

    def magnitudes(self) -> OfOutputs:
        return replace(self, form=self.form.magnitudes())

    @classmethod
    def cat(cls, forms: Sequence[OfOutputs]) -> OfOutputs:
        inner = [part.form for part in forms]
        return replace(forms[0], form=type(inner[0]).cat(inner))

    def split(self, sizes: Sequence[int]) -> list[Form]:
        raise TypeError("the parameters of some of a layer's outputs aren't told apart")
