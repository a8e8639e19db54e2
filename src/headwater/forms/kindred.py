"""Squared norms of layers that share what came in, or the gradients at what went out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.forms.cost import norm_is_cheaper_factored
from headwater.forms.factored import Factored
from headwater.forms.precise import precise
from headwater.forms.shared_inputs import place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms.form import Form
    from headwater.forms.shared_inputs import SharedInputs


def squared_norms(
    forms: Iterable[Form], shared: SharedInputs | None = None
) -> Iterator[Float[Tensor, " B"]]:
    """Numbers that add up to each example's squared norm over all of these forms.

    What a recurrent layer's inputs and states are multiplied with shares output gradients; an
    attention's queries, keys and values share inputs. Their Gram matrices are computed once.

    Args:
        forms: of the same examples.
        shared: what checkpoints have in common of the examples.
    """
    by_output_grads: dict[object, list[Factored]] = {}
    for form in forms:
        if isinstance(form, Factored) and form.positions == 1:
            yield form.norm_of_single(shared)
        elif isinstance(form, Factored) and norm_is_cheaper_factored(form):
            by_output_grads.setdefault(place(form.output_grads), []).append(form)
        else:
            yield form.squared_norm()
    by_inputs: dict[object, list[Factored]] = {}
    for kindred in by_output_grads.values():
        if len(kindred) > 1:
            yield _norms(kindred, inputs=len(kindred), output_grads=1)
        else:
            key = (place(kindred[0].inputs), kindred[0].bias)
            by_inputs.setdefault(key, []).append(kindred[0])
    for kindred in by_inputs.values():
        if len(kindred) > 1:
            yield _norms(kindred, inputs=1, output_grads=len(kindred))
        else:
            yield kindred[0].squared_norm()


def _norms(forms: Sequence[Factored], *, inputs: int, output_grads: int) -> Float[Tensor, " B"]:
    """The sum over s and t of (x_s . x_t + [bias]) (d_s . d_t), each side added up over layers.

    Args:
        forms: layers that share one side or the other.
        inputs: of how many of them inputs count; the others' are the same.
        output_grads: the same of output gradients.
    """
    found = []
    for pieces in _pieces(forms):
        products = _grams(piece.inputs for piece in pieces[:inputs])
        products.add_(sum(piece.bias for piece in pieces[:inputs]))
        grads = _grams(piece.output_grads for piece in pieces[:output_grads])
        found.append(products.mul_(grads).sum(dim=(1, 2, 3)))
    return torch.cat(found)


def _pieces(forms: Sequence[Factored]) -> Iterator[tuple[Factored, ...]]:
    """The same few examples of each; Gram matrices of two of them stay in the cache."""
    numbers = 2 * forms[0].groups * forms[0].positions ** 2
    return zip(*(form.pieces(numbers) for form in forms), strict=True)


def _grams(factors: Iterable[Float[Tensor, "b G S W"]]) -> Float[Tensor, "b G S S"]:
    """The sum of the factors' Gram matrices, in memory of its own."""
    total: Tensor | None = None
    for factor in map(precise, factors):
        gram = factor @ factor.mT
        total = gram if total is None else total.add_(gram)
    assert total is not None, "there is at least one factor"
    return total
