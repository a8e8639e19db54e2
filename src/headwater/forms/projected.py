"""Random projection: gradients of any size as D numbers whose dot products estimate theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from headwater.errors import InputError
from headwater.forms.convolved import Convolved
from headwater.forms.factored import Factored
from headwater.forms.gradients import Gradients
from headwater.forms.materialised import Materialised
from headwater.forms.rows import Rows
from headwater.forms.sketch import Sketch, draw_sketch
from headwater.forms.summed import Summed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms.form import Form

PROJECTED = ("projected",)
"""The block that a projected gradient is in: one for all parameters."""


@dataclass(frozen=True)
class Projected:
    """A form for estimators: each example's gradient as `dim` numbers instead of P.

    Dot products are estimated without bias; their variance falls as 1 / dim. Parameters of at most
    `4 * dim` numbers go through a count sketch, larger ones through a tensor sketch: count sketches
    of both factors, multiplied as polynomials, so that no full gradient is ever formed. What is
    equal is the map: it depends on the parameter, the checkpoint and the seed, and not on how a
    batch's gradients happen to be held.

    Args:
        dim: the number of numbers D.
        seed: picks the projection; the same seed and dim give the same numbers everywhere.

    Raises:
        InputError: `dim` is no positive int, or `seed` no int.

    Source: Charikar et al. (2002) for the count sketch; Pagh (2013), "Compressed matrix
        multiplication", and Pham and Pagh (2013) for the tensor sketch.
    """

    dim: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.dim, int) or isinstance(self.dim, bool) or self.dim < 1:
            raise InputError(f"dim is {self.dim!r}; expected a positive int")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise InputError(f"seed is {self.seed!r}; expected an int")

    def projection(self, shapes: Mapping[str, torch.Size]) -> Projection:
        """The projection of gradients of parameters that have these shapes."""
        return Projection(self, shapes)


class Projection:
    """The maps of a `Projected` form, for the parameters of one model.

    Args:
        form: says how many numbers, and which seed.
        shapes: the shape of every selected parameter.
    """

    def __init__(self, form: Projected, shapes: Mapping[str, torch.Size]) -> None:
        self._form = form
        self._shapes = shapes
        self._sketches: dict[tuple[int, str], Sketch] = {}

    @property
    def dim(self) -> int:
        """The number of numbers D."""
        return self._form.dim

    def __call__(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """The gradients, projected by the maps of a checkpoint.

        Args:
            gradients: per-example gradients of parameters among `shapes`.
            checkpoint: the checkpoint's place. Maps of different checkpoints are independent, so
                that errors don't add up over them.
        """
        total = gradients.like.new_zeros(gradients.batch_size, self._form.dim)
        for block, form in gradients.forms.items():
            sketches = [self._sketch(checkpoint, name, gradients.like) for name in block]
            total += project(form, sketches)
        return Gradients({PROJECTED: Materialised(total)}, gradients.batch_size, gradients.like)

    def _sketch(self, checkpoint: int, name: str, like: Tensor) -> Sketch:
        found = self._sketches.get((checkpoint, name))
        if found is None:
            key = f"{self._form.seed}/{checkpoint}/{name}"
            found = draw_sketch(self._shapes[name], self._form.dim, key=key, like=like)
            self._sketches[(checkpoint, name)] = found
        return found


def project(form: Form, sketches: Sequence[Sketch]) -> Float[Tensor, "B D"]:
    """The sum of the sketches of a block's parameters, for every example.

    Args:
        form: the gradients of the block.
        sketches: one per parameter, in the block's order.
    """
    if isinstance(form, Summed):
        return torch.stack([project(part, sketches) for part in form.parts]).sum(dim=0)
    if isinstance(form, Rows):
        return _of_rows(form, sketches[0])
    if isinstance(form, Convolved):
        pieces = form.factored_pieces(scratch_each=form.numbers)
        return torch.cat([project(piece, sketches) for piece in pieces])
    if isinstance(form, Factored) and sketches[0].two_sided:
        weight = torch.cat([_of_factors(piece, sketches[0]) for piece in _pieces(form, sketches)])
        if not form.bias:
            return weight
        return weight + sketches[1].of_flat(form.output_grads.sum(dim=2).flatten(1))
    sizes = [sketch.size for sketch in sketches]
    blocks = []
    for piece in form.pieces(2 * sum(sizes)):
        parts = piece.materialise().split(sizes, dim=1)
        flat = [sketch.of_flat(part) for sketch, part in zip(sketches, parts, strict=True)]
        blocks.append(torch.stack(flat).sum(dim=0))
    return torch.cat(blocks)


def _pieces(form: Factored, sketches: Sequence[Sketch]) -> list[Factored]:
    # Two spectra of D / 2 complex numbers per position, and what they are made from.
    return list(form.pieces(4 * form.inputs.shape[1] * form.positions * sketches[0].dim))


def _of_factors(form: Factored, sketch: Sketch) -> Float[Tensor, "B D"]:
    """The sketch of sum_s d_s x_s^T: a circular convolution of the factors' sketches.

    (d x^T)[o, i] goes to bucket h(o) + h'(i) mod D, which is what a product of polynomials does to
    exponents; the sum over positions is taken in the Fourier domain, before the one way back.
    """
    rows, columns = form.output_grads, form.inputs
    if form.layout == "io":
        rows, columns = columns, rows
    groups, each = rows.shape[1], rows.shape[3]
    total = None
    for group in range(groups):
        own = sketch.row_sketch(group * each, (group + 1) * each)
        spectrum = torch.fft.rfft(own(rows[:, group])) * torch.fft.rfft(
            sketch.column_sketch(columns[:, group])
        )
        total = spectrum.sum(dim=1) if total is None else total.add_(spectrum.sum(dim=1))
    assert total is not None
    convolved: Tensor = torch.fft.irfft(total, n=sketch.dim)
    return convolved


def _of_rows(form: Rows, sketch: Sketch) -> Float[Tensor, "B D"]:
    """The sketch of a table's gradient, entry by entry of what was looked up."""
    width = form.values.shape[2]
    result = form.values.new_zeros(form.batch_size, sketch.dim)
    # Position by position, since every entry of it needs a bucket of its own.
    for position in range(form.positions):
        buckets, signs = sketch.rows(form.ids[:, position], width)
        result.scatter_add_(1, buckets, form.values[:, position] * signs)
    return result
