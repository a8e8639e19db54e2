"""Gradients with NaN or infinite entries: found, named, refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn

import torch

from headwater.errors import NonFiniteError

if TYPE_CHECKING:
    from torch import Tensor

    from headwater.forms import Gradients


def has_finite_sum(tensor: Tensor) -> bool:
    """Whether the sum of all entries is finite, so that every entry is; one pass over them.

    The other way round it doesn't hold: finite entries may have a sum beyond the range.
    """
    return math.isfinite(tensor.sum().item())


def refuse_non_finite(gradients: Gradients, *, first: int, kind: str) -> None:
    """Raises NonFiniteError for the first example with a non-finite entry, naming it and the layer.

    Args:
        gradients: a batch's gradients.
        first: the index of the batch's first example.
        kind: "training example" or "query".
    """
    bad: tuple[int, str] | None = None
    for block, form in gradients.forms.items():
        for tensor in form.tensors:
            if not tensor.is_floating_point() or has_finite_sum(tensor):
                continue
            index = int(torch.isfinite(tensor.flatten(1)).all(dim=1).logical_not().int().argmax())
            entries = form.examples(index, index + 1).materialise()
            count = int(torch.isfinite(entries).logical_not().sum())
            if count and (bad is None or index < bad[0]):
                layer = block[0].rpartition(".")[0] or block[0]
                bad = (
                    index,
                    (
                        f"{kind} {first + index}, layer {layer}: gradient has {count} non-finite "
                        f"entries of {entries.numel()}"
                    ),
                )
    if bad is not None:
        raise NonFiniteError(
            f"{bad[1]}. Look at that example's input and loss (a log of zero, an overflow in half "
            f"precision, a NaN in the data), or at the checkpoint"
        )


def refuse_overflow(first: int, kind: str) -> NoReturn:
    """Raises NonFiniteError for products that overflow although the gradients are finite."""
    raise NonFiniteError(
        f"{kind} {first} and those in its batch have finite gradients whose products exceed the "
        f"range of the model's precision; use model.double()"
    )
