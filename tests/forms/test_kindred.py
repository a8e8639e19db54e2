"""Norms of layers that share inputs or output gradients, against gradients written out."""

from importlib import import_module

import pytest
import torch
from torch.testing import assert_close

from headwater.forms import Factored, Gradients, Materialised, cost
from headwater.forms.shared_inputs import SharedInputs

B, S = 3, 4


def randn(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def products(monkeypatch):
    """The widths of the factors of which Gram matrices were computed."""
    kindred = import_module("headwater.forms.kindred")
    for name in ("factored", "kindred"):
        module = import_module(f"headwater.forms.{name}")
        monkeypatch.setattr(module, "norm_is_cheaper_factored", lambda form: True)
    widths: list[int] = []

    def counted(factor: torch.Tensor) -> torch.Tensor:
        widths.append(factor.shape[-1])
        return factor

    monkeypatch.setattr(kindred, "precise", counted)
    return widths


def norms(*forms) -> torch.Tensor:
    blocks = {(str(place),): form for place, form in enumerate(forms)}
    return Gradients(blocks, B, randn(0, 0)).squared_norm()


def expected(*forms) -> torch.Tensor:
    return sum(form.materialise().square().sum(dim=1) for form in forms)


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("biases", [(True, True), (True, False), (False, False)])
def test_inputs_and_states_of_a_recurrent_layer(biases, groups, pieces, products, monkeypatch):
    if pieces > 1:
        monkeypatch.setattr(cost, "SCRATCH_BYTES", 8)
    grads = randn(1, B, groups, S, 5)
    inputs = (randn(2, B, groups, S, 2), randn(3, B, groups, S, 3))
    forms = [Factored(x, grads, bias=bias) for x, bias in zip(inputs, biases, strict=True)]
    assert_close(norms(*forms), expected(*forms), rtol=1e-12, atol=0)
    assert products == [2, 3, 5] * pieces


@pytest.mark.parametrize("pieces", [1, 3])
def test_queries_keys_and_values_of_an_attention(pieces, products, monkeypatch):
    if pieces > 1:
        monkeypatch.setattr(cost, "SCRATCH_BYTES", 8)
    inputs = randn(1, B, 1, S, 6)
    forms = [Factored(inputs, randn(seed, B, 1, S, seed), bias=True) for seed in (2, 3, 4)]
    assert_close(norms(*forms), expected(*forms), rtol=1e-12, atol=0)
    assert products == [6, 2, 3, 4] * pieces


def test_only_what_is_the_same_is_shared(products):
    inputs, grads = randn(1, B, 1, S, 6), randn(2, B, 1, S, 5)
    others = [
        Factored(inputs, randn(3, B, 1, S, 3), bias=True),
        # Without a bias there is no 1 beside the inputs.
        Factored(inputs, randn(4, B, 1, S, 3)),
        Factored(inputs.clone(), grads),
        # The same memory, in another order.
        Factored(randn(5, B, 1, S, 2), grads.flip(2)),
        Materialised(randn(6, B, 7)),
    ]
    assert_close(norms(*others), expected(*others), rtol=1e-12, atol=0)
    assert products == []


def test_norms_of_inputs_are_shared_between_checkpoints(monkeypatch):
    batch = randn(1, B, 6)
    shared = SharedInputs([batch])
    counted: list[int] = []
    module = import_module("headwater.forms.shared_inputs")
    squared = module.squared_norms
    monkeypatch.setattr(module, "squared_norms", lambda v: counted.append(1) or squared(v))
    for seed in (2, 3):
        grads = randn(seed, B, 1, 1, 4)
        form = Factored(batch[:, None, None], grads, bias=True)
        gradients = Gradients({("weight", "bias"): form}, B, randn(0, 0))
        assert_close(gradients.squared_norm(shared), expected(form), rtol=1e-12, atol=0)
    assert len(counted) == 1
    # What a layer made may lie anywhere the next time.
    made = Factored(batch[:, None, None].clone(), randn(4, B, 1, 1, 4))
    assert_close(made.norm_of_single(shared), expected(made), rtol=1e-12, atol=0)
    assert len(counted) == 1
    batch.mul_(2)
    assert_close(form.norm_of_single(shared), expected(form), rtol=1e-12, atol=0)
    assert len(counted) == 2
