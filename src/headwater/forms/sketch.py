"""The random map of one parameter's gradient to D numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.forms.cost import two_sided_sketch_is_cheaper
from headwater.linalg import CountSketch, draw_count_sketch

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class Sketch:
    """A sketch of a matrix of `rows` x `columns`: entry (o, i) goes to one bucket, with a sign.

    Two-sided, its bucket is the sum of one for the row and one for the column, and its sign the
    product of theirs, so that a product of factors is sketched from sketches of the factors. Else
    every entry has a bucket and sign of its own, which estimates somewhat better.

    Attributes:
        column_sketch: of the columns, two-sided; else of all entries.
        by_row: of the rows, two-sided; else None.
    """

    columns: int
    size: int
    dim: int
    column_sketch: CountSketch
    by_row: CountSketch | None

    @property
    def two_sided(self) -> bool:
        """Whether the map is made of one for rows and one for columns."""
        return self.by_row is not None

    def row_sketch(self, start: int, stop: int) -> CountSketch:
        """The part of the rows' sketch from row `start` to before `stop`."""
        assert self.by_row is not None
        buckets, signs = self.by_row.buckets[start:stop], self.by_row.signs[start:stop]
        return CountSketch(buckets, signs, self.dim)

    def of_flat(self, gradients: Float[Tensor, "B P"]) -> Float[Tensor, "B D"]:
        """The sketch of gradients that are written out."""
        if self.by_row is None:
            return self.column_sketch(gradients)
        rows, columns = self.by_row, self.column_sketch
        buckets = (rows.buckets[:, None] + columns.buckets).remainder_(self.dim).flatten()
        signs = (rows.signs[:, None] * columns.signs).flatten()
        return CountSketch(buckets, signs, self.dim)(gradients)

    def rows(
        self, ids: Int[Tensor, " B"], width: int
    ) -> tuple[Int[Tensor, "B E"], Float[Tensor, "B E"]]:
        """The buckets and signs of all entries in some rows of `width` entries each."""
        columns = self.column_sketch
        if self.by_row is None:
            table = columns.buckets.view(-1, width), columns.signs.view(-1, width)
            return table[0][ids], table[1][ids]
        buckets = (self.by_row.buckets[ids][:, None] + columns.buckets).remainder_(self.dim)
        return buckets, self.by_row.signs[ids][:, None] * columns.signs


def draw_sketch(shape: torch.Size, dim: int, *, key: str, like: Tensor) -> Sketch:
    """The sketch of a parameter of this shape that belongs to a key.

    A parameter counts as a matrix of its first axis by all others. Whether the map is two-sided
    depends on shape and dim alone: gradients in different forms must meet in the same map.
    """
    size = shape.numel()
    rows = shape[0] if len(shape) > 1 else 1
    columns = size // rows
    if not two_sided_sketch_is_cheaper(rows, columns, dim=dim):
        whole = draw_count_sketch(size, dim, key=f"{key}/entries", like=like)
        return Sketch(columns, size, dim, whole, None)
    by_row = draw_count_sketch(rows, dim, key=f"{key}/rows", like=like)
    by_column = draw_count_sketch(columns, dim, key=f"{key}/columns", like=like)
    return Sketch(columns, size, dim, by_column, by_row)
