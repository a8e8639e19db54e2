"""Squared norms of layers that share what came in, or the gradients at what went out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.forms.cost import norm_is_cheaper_factored
from headwater.forms.factored import Factored
from headwater.forms.precise import precise

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
            by_output_grads.setdefault(_place(form.output_grads), []).append(form)
        else:
            yield form.squared_norm()
    by_inputs: dict[object, list[Factored]] = {}
    for kindred in by_output_grads.values():
        if len(kindred) > 1:
            yield _with_output_grads_shared(kindred)
        else:
            key = (_place(kindred[0].inputs), kindred[0].bias)
            by_inputs.setdefault(key, []).append(kindred[0])
    for kindred in by_inputs.values():
        yield _with_inputs_shared(kindred) if len(kindred) > 1 else kindred[0].squared_norm()


def _with_output_grads_shared(forms: Sequence[Factored]) -> Float[Tensor, " B"]:
    """The sum over s and t of (d_s . d_t) times all layers' (x_s . x_t + [bias])."""
    found = []
    for pieces in _pieces(forms):
        inputs = _grams(piece.inputs for piece in pieces).add_(sum(piece.bias for piece in pieces))
        found.append(inputs.mul_(_grams([pieces[0].output_grads])).sum(dim=(1, 2, 3)))
    return torch.cat(found)


def _with_inputs_shared(forms: Sequence[Factored]) -> Float[Tensor, " B"]:
    """The sum over s and t of (x_s . x_t + [bias]) times all layers' (d_s . d_t)."""
    found = []
    for pieces in _pieces(forms):
        inputs = _grams([pieces[0].inputs])
        inputs = inputs.add_(1) if pieces[0].bias else inputs
        grads = _grams(piece.output_grads for piece in pieces)
        found.append(grads.mul_(inputs).sum(dim=(1, 2, 3)))
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


def _place(tensor: Tensor) -> object:
    """Equal for tensors that are one and the same."""
    return (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
