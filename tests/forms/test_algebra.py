"""Every form, and every pair of forms, against gradients written out by loops."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from headwater.forms import Gradients, dot
from headwater.forms.add import add
from headwater.forms.dot import for_pairs

from .conftest import force
from .dense import KINDS, grouped

Q, B = 2, 3
PAIRS = list(itertools.product(KINDS, KINDS))
every_kind = pytest.mark.parametrize("kind", KINDS)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.usefixtures("scratch")
@pytest.mark.parametrize("written_out", [True, False])
@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_every_pair_of_forms_has_its_dot_product(left, right, written_out, monkeypatch):
    force(monkeypatch, "table_is_cheaper_written_out", written_out)
    queries, of_queries = KINDS[left](Q, generator(1))
    examples, of_examples = KINDS[right](B, generator(2))
    expected = of_queries @ of_examples.mT
    assert_close(dot(queries, examples), expected, rtol=1e-12, atol=1e-12)
    assert_close(dot(examples, queries), expected.mT, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("scratch")
@pytest.mark.parametrize("factors", [True, False])
@pytest.mark.parametrize("written_out", [True, False])
@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_queries_prepared_for_many_examples_have_the_same_products(
    left, right, written_out, factors, monkeypatch
):
    force(monkeypatch, "table_is_cheaper_written_out", written_out)
    force(monkeypatch, "pairs_are_cheaper_factored", factors)
    queries, of_queries = KINDS[left](Q, generator(1))
    examples, of_examples = KINDS[right](B, generator(2))
    prepared = for_pairs(queries, queries=Q)
    assert_close(dot(prepared, examples), of_queries @ of_examples.mT, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("scratch")
@pytest.mark.parametrize("factors", [True, False])
@every_kind
def test_squared_norms(kind, factors, monkeypatch):
    force(monkeypatch, "norm_is_cheaper_factored", factors)
    form, expected = KINDS[kind](B, generator(3))
    assert_close(form.squared_norm(), expected.square().sum(1), rtol=1e-12, atol=0)


@pytest.mark.usefixtures("scratch")
@every_kind
def test_what_is_written_out_summed_and_cut(kind):
    form, expected = KINDS[kind](B, generator(4))
    weights = torch.tensor([0.3, -2.0, 0.7], dtype=torch.float64)
    assert form.batch_size == B
    assert_close(form.materialise(), expected)
    assert_close(form.weighted_sum(weights), weights @ expected)
    assert_close(form.examples(1, 3).materialise(), expected[1:])
    assert_close(type(form).cat([form.examples(0, 1), form.examples(1, 3)]).materialise(), expected)
    assert bool((form.magnitudes().materialise() >= expected.abs() - 1e-12).all())


@pytest.mark.parametrize("positions", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("factors", [True, False])
def test_grouped_layers_with_and_without_bias(groups, bias, positions, factors, monkeypatch):
    force(monkeypatch, "norm_is_cheaper_factored", factors)
    force(monkeypatch, "pairs_are_cheaper_factored", factors)
    options = {"groups": groups, "bias": bias, "positions": positions}
    queries, of_queries = grouped(Q, generator(5), **options)
    examples, of_examples = grouped(B, generator(6), **options)
    prepared = for_pairs(queries, queries=Q)
    assert_close(dot(prepared, examples), of_queries @ of_examples.mT, rtol=1e-12, atol=1e-12)
    assert_close(examples.squared_norm(), of_examples.square().sum(1), rtol=1e-12, atol=0)
    assert_close(examples.materialise(), of_examples)
    sizes = [6 * groups, 2 * groups] if bias else [6 * groups]
    parts = torch.cat([part.materialise() for part in examples.split(sizes)], dim=1)
    assert_close(parts, of_examples)


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_uses_of_one_parameter_add_up(left, right):
    one, of_one = KINDS[left](B, generator(7))
    two, of_two = KINDS[right](B, generator(8))
    total, expected = add([one, two]), of_one + of_two
    assert_close(total.materialise(), expected)
    assert_close(total.squared_norm(), expected.square().sum(1), rtol=1e-12, atol=0)


def test_batches_of_unequal_length_are_joined():
    kinds = {"factored": ("factored, one position", "factored")}
    kinds["rows"] = ("rows, one position", "rows")
    for short, long in kinds.values():
        one, of_one = KINDS[short](2, generator(9))
        two, of_two = KINDS[long](1, generator(10))
        joined = type(one).cat([one, two])
        assert_close(joined.materialise(), torch.cat([of_one, of_two]))


def test_a_block_that_only_some_batches_have_is_zero_in_the_others():
    like = torch.empty(0, dtype=torch.float64)
    form, rows_of_form = KINDS["factored"](2, generator(11))
    joined = Gradients.cat([Gradients({("w",): form}, 2, like), Gradients({}, 1, like)])
    assert_close(joined.forms[("w",)].materialise(), torch.cat([rows_of_form, torch.zeros(1, 20)]))
    assert_close(joined.squared_norm()[2], torch.tensor(0.0, dtype=torch.float64))


def test_products_add_up_over_blocks_and_a_missing_block_is_zero():
    like = torch.empty(0, dtype=torch.float64)
    forms = {kind: KINDS[kind](B, generator(12)) for kind in ("factored", "rows")}
    both = Gradients({(kind,): form for kind, (form, _) in forms.items()}, B, like)
    only = Gradients({("rows",): forms["rows"][0]}, B, like)
    of_rows = forms["rows"][1]
    assert_close(both.dot(only), of_rows @ of_rows.mT)
    written = torch.cat([of for _, of in forms.values()], dim=1)
    assert_close(both.dot(both), written @ written.mT)
