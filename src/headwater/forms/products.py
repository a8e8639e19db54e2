"""Products of gradients that are written out, by how they lie in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def lying_side_by_side(gradients: Float[Tensor, "Q ..."]) -> Float[Tensor, "Q ..."]:
    """The same numbers in other memory: the first one of all gradients, the second of all, ..."""
    return gradients.movedim(0, -1).contiguous().movedim(-1, 0)


def products(queries: Float[Tensor, "Q P"], examples: Float[Tensor, "B P"]) -> Float[Tensor, "Q B"]:
    """Every inner product."""
    if lie_side_by_side(queries):
        return (examples @ queries.mT).mT
    return queries @ examples.mT


def add_products(
    total: Float[Tensor, "Q B"], queries: Float[Tensor, "Q P"], examples: Float[Tensor, "B P"]
) -> None:
    """Adds every inner product to a total; fastest if `zeros` made that for the same queries."""
    if lie_side_by_side(queries):
        total.mT.addmm_(examples, queries.mT)
    else:
        total.addmm_(queries, examples.mT)


def zeros(queries: Float[Tensor, "Q P"], count: int) -> Float[Tensor, "Q B"]:
    """A total for products with so many examples, laid out as the products are."""
    if lie_side_by_side(queries):
        return queries.new_zeros(count, len(queries)).mT
    return queries.new_zeros(len(queries), count)


def lie_side_by_side(queries: Float[Tensor, "Q P"]) -> bool:
    """Whether each number of all gradients lies together, as `lying_side_by_side` makes it."""
    return len(queries) > 1 and queries.stride(0) == 1 and queries.stride(1) != 1
