"""Gradients as vectors over all selected parameters, in order, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.forms import Gradients, Materialised

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms import Form
    from headwater.forms.gradients import Block


def by_parameter(gradients: Gradients, shapes: Mapping[str, torch.Size]) -> Gradients:
    """The same gradients, with a block for each parameter."""
    forms: dict[Block, Form] = {}
    for block, form in gradients.forms.items():
        parts = form.split([shapes[name].numel() for name in block])
        forms.update({(name,): part for name, part in zip(block, parts, strict=True)})
    return Gradients(forms, gradients.batch_size, gradients.like)


def written_out(
    gradients: Gradients, shapes: Mapping[str, torch.Size]
) -> dict[str, Float[Tensor, "B n"]]:
    """Every parameter's gradients in full, in order; zeros where there is no block."""
    written = {
        name: part.materialise() for (name,), part in by_parameter(gradients, shapes).forms.items()
    }
    size = gradients.batch_size
    return {
        name: written[name] if name in written else gradients.like.new_zeros(size, shape.numel())
        for name, shape in shapes.items()
    }


def as_vectors(gradients: Gradients, shapes: Mapping[str, torch.Size]) -> Float[Tensor, "B P"]:
    """Every gradient as one vector."""
    return torch.cat(list(written_out(gradients, shapes).values()), dim=1)


def in_blocks(
    vectors: Float[Tensor, "B P"],
    blocks: Iterable[Block],
    shapes: Mapping[str, torch.Size],
    like: Tensor,
) -> Gradients:
    """Vectors over all parameters, cut into blocks; the way back of `as_vectors`."""
    sizes = [shape.numel() for shape in shapes.values()]
    columns = dict(zip(shapes, vectors.split(sizes, dim=1), strict=True))
    forms: dict[Block, Form] = {
        block: Materialised(torch.cat([columns[name] for name in block], dim=1)) for block in blocks
    }
    return Gradients(forms, len(vectors), like)
