"""Projection layer by layer: a map on either side of a weight's gradient, from its factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import einsum

from headwater.errors import InputError
from headwater.forms.convolved import Convolved
from headwater.forms.factored import Factored
from headwater.forms.gradients import Gradients
from headwater.forms.materialised import Materialised
from headwater.forms.rows import Rows
from headwater.forms.summed import Summed
from headwater.linalg import draw_gaussian

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms.form import Form
    from headwater.forms.gradients import Block


@dataclass(frozen=True)
class TwoSided:
    """G -> P_O G P_I^T, for the gradient G of a matrix of O rows; None stands for the identity.

    A parameter of more axes counts as a matrix of its first by all others, a vector as one row.
    """

    rows: Float[Tensor, "K O"] | None
    columns: Float[Tensor, "L I"] | None
    shape: tuple[int, int]

    def from_left(self, rows: Float[Tensor, "... O"]) -> Float[Tensor, "... K"]:
        """P_O applied to vectors of the rows' axis."""
        return rows if self.rows is None else rows @ self.rows.mT

    def from_right(self, columns: Float[Tensor, "... I"]) -> Float[Tensor, "... L"]:
        """P_I applied to vectors of the columns' axis."""
        return columns if self.columns is None else columns @ self.columns.mT

    def of_flat(self, gradients: Float[Tensor, "B P"]) -> Float[Tensor, "B KL"]:
        """The map of gradients that are written out."""
        matrices = gradients.unflatten(1, self.shape)
        return self.from_left(self.from_right(matrices).mT).mT.flatten(1)


class LayerProjection:
    """The maps of every selected parameter, the same at each checkpoint.

    Each parameter stays in a block of its own. On an axis that isn't longer than `dim`, nothing is
    projected; a vector is projected to dim * dim numbers if it has more.

    Args:
        dim: the length K of a projected axis.
        seed: picks the maps.
        shapes: the shape of every selected parameter.
    """

    def __init__(self, dim: int, seed: int, shapes: Mapping[str, torch.Size]) -> None:
        if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
            raise InputError(f"dim is {dim!r}; expected a positive int")
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise InputError(f"seed is {seed!r}; expected an int")
        self._dim = dim
        self._seed = seed
        self._shapes = shapes
        self._maps: dict[str, TwoSided] = {}

    @property
    def numbers(self) -> int:
        """How many numbers are left of a gradient."""
        total = 0
        for shape in self._shapes.values():
            rows, columns = _as_matrix(shape)
            row_limit, column_limit = self._limits(shape)
            total += min(rows, row_limit) * min(columns, column_limit)
        return total

    def __call__(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """The gradients, projected."""
        forms: dict[Block, Form] = {}
        for block, form in gradients.forms.items():
            maps = [self.map_of(name, gradients.like) for name in block]
            for name, projected in zip(block, _projected(form, maps), strict=True):
                forms[(name,)] = Materialised(projected)
        return Gradients(forms, gradients.batch_size, gradients.like)

    def map_of(self, name: str, like: Tensor) -> TwoSided:
        """The map of one parameter, in the dtype and on the device of a tensor."""
        found = self._maps.get(name)
        if found is None:
            shape = self._shapes[name]
            rows, columns = _as_matrix(shape)
            row_limit, column_limit = self._limits(shape)
            key = f"{self._seed}/{name}"
            found = TwoSided(
                _drawn(rows, row_limit, f"{key}/rows", like),
                _drawn(columns, column_limit, f"{key}/columns", like),
                (rows, columns),
            )
            self._maps[name] = found
        return found

    def _limits(self, shape: torch.Size) -> tuple[int, int]:
        return (self._dim, self._dim) if len(shape) > 1 else (1, self._dim**2)


def _as_matrix(shape: torch.Size) -> tuple[int, int]:
    rows = shape[0] if len(shape) > 1 else 1
    return rows, shape.numel() // max(1, rows)


def _drawn(size: int, limit: int, key: str, like: Tensor) -> Tensor | None:
    return None if size <= limit else draw_gaussian(limit, size, key=key, like=like)


def _projected(form: Form, maps: Sequence[TwoSided]) -> list[Tensor]:
    """Each parameter's projected gradients, of a block's in order."""
    if isinstance(form, Summed):
        by_part = [_projected(part, maps) for part in form.parts]
        return [torch.stack(parts).sum(dim=0) for parts in zip(*by_part, strict=True)]
    if isinstance(form, Rows):
        return [_of_rows(form, maps[0])]
    if isinstance(form, Convolved):
        pieces = [_projected(piece, maps) for piece in form.factored_pieces()]
        return [torch.cat(parts) for parts in zip(*pieces, strict=True)]
    if isinstance(form, Factored):
        weight = _of_factors(form, maps[0])
        if not form.bias:
            return [weight]
        return [weight, maps[1].of_flat(form.output_grads.sum(dim=2).flatten(1))]
    sizes = [one.shape[0] * one.shape[1] for one in maps]
    blocks = []
    for piece in form.pieces(2 * sum(sizes)):
        parts = piece.materialise().split(sizes, dim=1)
        blocks.append([one.of_flat(part) for one, part in zip(maps, parts, strict=True)])
    return [torch.cat(parts) for parts in zip(*blocks, strict=True)]


def _of_factors(form: Factored, sides: TwoSided) -> Float[Tensor, "B KL"]:
    """sum_s (P_O d_s)(P_I x_s)^T: each factor is projected before they meet."""
    rows, columns = form.output_grads, form.inputs
    if form.layout == "io":
        rows, columns = columns, rows
    if sides.rows is None or form.groups == 1:
        # Groups are bands of rows: without a map on them they stay where they are.
        left, right = sides.from_left(rows), sides.from_right(columns)
        return einsum("bgso,bgsi->bgoi", left, right).flatten(1)
    right = sides.from_right(columns)
    bands = sides.rows.unflatten(1, (form.groups, -1))
    left = einsum("kgo,bgso->bgsk", bands, rows)
    return einsum("bgsk,bgsi->bki", left, right).flatten(1)


def _of_rows(form: Rows, sides: TwoSided) -> Float[Tensor, "B KL"]:
    if sides.rows is None:
        return sides.of_flat(form.materialise())
    left = sides.rows.mT[form.ids]
    return einsum("bsk,bsi->bki", left, sides.from_right(form.values)).flatten(1)
