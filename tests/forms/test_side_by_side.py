"""Queries whose numbers lie side by side in memory have the same products."""

import itertools
from importlib import import_module

import pytest
import torch
from torch.testing import assert_close

from headwater.forms import Banded, Gradients, Materialised, Outputs, dot
from headwater.forms.cost import FEWEST_SIDE_BY_SIDE, side_by_side_is_faster
from headwater.forms.dot import for_pairs
from headwater.forms.outputs import OfOutputs
from headwater.forms.products import add_products, lying_side_by_side, products, zeros

from .conftest import force
from .dense import KINDS, TABLE_ROWS, WIDTH, grouped

Q, B = 2, 3
PAIRS = list(itertools.product(KINDS, KINDS))
side_by_side = import_module("headwater.forms.side_by_side").side_by_side


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def always(monkeypatch):
    module = import_module("headwater.forms.side_by_side")
    monkeypatch.setattr(module, "side_by_side_is_faster", lambda gradients: True)
    force(monkeypatch, "pairs_are_cheaper_factored", False)


@pytest.mark.usefixtures("scratch")
@pytest.mark.parametrize("written_out", [True, False])
@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_every_pair_of_forms_has_its_products(left, right, written_out, monkeypatch):
    force(monkeypatch, "table_is_cheaper_written_out", written_out)
    queries, of_queries = KINDS[left](Q, generator(1))
    examples, of_examples = KINDS[right](B, generator(2))
    held = side_by_side(for_pairs(queries, queries=Q))
    if isinstance(held, (Materialised, Banded)):
        assert held.gradients.stride(0) == 1
    assert_close(dot(held, examples), of_queries @ of_examples.mT, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("scratch")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_bias_goes_with_its_weight(groups, bias):
    options = {"groups": groups, "positions": 3, "bias": bias}
    queries, of_queries = grouped(Q, generator(5), **options)
    examples, of_examples = grouped(B, generator(6), **options)
    held = side_by_side(for_pairs(queries, queries=Q))
    assert_close(dot(held, examples), of_queries @ of_examples.mT, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_some_of_a_layers_outputs(kind):
    queries, of_queries = KINDS[kind](Q, generator(1))
    examples, of_examples = KINDS[kind](B, generator(2))
    outputs = Outputs.all_of(queries, ((TABLE_ROWS, WIDTH),))
    assert outputs is not None
    parts = [OfOutputs.held(queries, some) for some in outputs.parted(2)]
    found = [dot(side_by_side(for_pairs(part, queries=Q)), examples) for part in parts]
    assert_close(torch.stack(found).sum(0), of_queries @ of_examples.mT, rtol=1e-12, atol=1e-12)


def test_gradients_are_laid_out_block_by_block():
    (one, of_one), (two, of_two) = (KINDS["factored"](Q, generator(seed)) for seed in (1, 2))
    gradients = Gradients({("one",): one, ("two",): two}, Q, one.inputs[0, 0, 0, :0])
    held = Gradients.joined([gradients.for_pairs(queries=Q)], for_products=True)
    expected = of_one @ of_one.mT + of_two @ of_two.mT
    assert_close(held.dot(gradients), expected, rtol=1e-12, atol=1e-12)
    assert held.nbytes == gradients.for_pairs(queries=Q).nbytes


@pytest.mark.parametrize("shape", [(Q, 5), (1, 5), (Q, 1), (1, 1), (0, 5)])
def test_products_of_few_and_of_none(shape):
    queries = torch.randn(shape, dtype=torch.float64)
    examples = torch.randn(B, shape[1], dtype=torch.float64)
    expected = queries @ examples.mT
    for held in (queries, lying_side_by_side(queries)):
        assert torch.equal(held, queries)
        assert_close(products(held, examples), expected)
        total = zeros(held, B)
        add_products(total, held, examples)
        add_products(total, held, examples)
        assert_close(total, 2 * expected)


def test_it_is_for_many_in_full_precision_on_some_processors():
    many = torch.empty(FEWEST_SIDE_BY_SIDE, 8)
    known = (
        torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkl.is_available()
    )
    assert side_by_side_is_faster(many) == known
    assert not side_by_side_is_faster(many[1:])
    assert not side_by_side_is_faster(many.half())
    assert not side_by_side_is_faster(many.to("meta"))
