"""Products with the gradients of some of a layer's outputs, and how an example's are divided."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from headwater.forms import Convolved, Factored, Gradients, Materialised, OfOutputs, Outputs, dot
from headwater.forms import cost as cost_module
from headwater.forms.dot import for_pairs

from .dense import KINDS, TABLE_ROWS, WIDTH, grouped, randn

Q, B = 2, 3
SHAPE = ((TABLE_ROWS, WIDTH),)
PAIRS = list(itertools.product(KINDS, KINDS))
PARTS = (1, 2, 3, TABLE_ROWS)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def divided(queries, examples, shapes, parts):
    """The products, as a sum over parts of the outputs."""
    outputs = Outputs.all_of(queries, shapes)
    assert outputs is not None
    found = [OfOutputs.held(queries, some) for some in outputs.parted(parts)]
    assert sum(part.numbers for part in found) == queries.numbers
    assert sum(part.materialise().shape[1] for part in found) == queries.numbers
    both = [dot(part, examples) for part in (*found, *(for_pairs(p, queries=Q) for p in found))]
    return [torch.stack(half).sum(dim=0) for half in (both[: len(found)], both[len(found) :])]


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_products_of_every_pair_of_forms_are_sums_over_parts_of_the_outputs(left, right, parts):
    queries, of_queries = KINDS[left](Q, generator(1))
    examples, of_examples = KINDS[right](B, generator(2))
    for found in divided(queries, examples, SHAPE, parts):
        assert_close(found, of_queries @ of_examples.mT, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_groups_of_a_layer_and_its_bias_are_divided(groups, bias, parts):
    shapes = ((groups * 2, 3), (groups * 2,))[: 1 + bias]
    options = {"groups": groups, "positions": 2, "bias": bias}
    queries, of_queries = grouped(Q, generator(1), **options)
    examples, of_examples = grouped(B, generator(2), **options)
    for other in (examples, Materialised(of_examples)):
        for found in divided(queries, other, shapes, parts):
            assert_close(found, of_queries @ of_examples.mT, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize(("fan_in", "fan_out"), [(3, 5), (4, 4)])
def test_a_weight_that_is_stored_by_input_is_divided_by_outputs_too(fan_in, fan_out, parts):
    def form(count, seed):
        draw = generator(seed)
        inputs, grads = randn(draw, count, 1, 2, fan_in), randn(draw, count, 1, 2, fan_out)
        return Factored(inputs, grads, bias=True, layout="io")

    queries, examples = form(Q, 1), form(B, 2)
    expected = queries.materialise() @ examples.materialise().mT
    for other in (examples, Materialised(examples.materialise())):
        for found in divided(queries, other, ((fan_in, fan_out), (fan_out,)), parts):
            assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
@pytest.mark.parametrize("groups", [1, 2])
def test_kernels_are_divided_by_output_channels(groups, parts):
    def form(count, seed):
        draw = generator(seed)
        inputs, grads = randn(draw, count, 2 * groups, 6, 4), randn(draw, count, 4, 5, 3)
        return Convolved(inputs, grads, (2, 2), (1, 1), (1, 1), groups, bias=True)

    queries, examples = form(Q, 1), form(B, 2)
    expected = queries.materialise() @ examples.materialise().mT
    for other in (examples, Materialised(examples.materialise())):
        for found in divided(queries, other, ((4, 2, 2, 2), (4,)), parts):
            assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_part_holds_no_more_than_its_own():
    form = Materialised(torch.randn(Q, 20))
    part = OfOutputs.held(form, Outputs.all_of(form, SHAPE).parted(5)[0])
    assert [t.untyped_storage().nbytes() for t in part.tensors] == [Q * WIDTH * 4]


def test_gradients_that_are_no_parameters_are_not_divided():
    assert Outputs.all_of(Materialised(torch.randn(Q, 7)), SHAPE) is None
    assert Outputs.all_of(Materialised(torch.randn(Q, 1)), ((),)) is None
    assert Outputs.all_of(Materialised(torch.randn(Q, 7)), ()) is None


def test_parts_are_joined_and_summed_as_whole_blocks_are():
    queries, of_queries = KINDS["factored"](4, generator(1))
    examples, of_examples = KINDS["rows"](B, generator(2))
    some = Outputs.all_of(queries, SHAPE).parted(2)[1]
    like = torch.empty(0, dtype=torch.float64)
    expected = some.of_written(of_queries) @ some.of_written(of_examples).mT
    met = Gradients({("w",): examples}, B, like)

    def batch(form):
        return Gradients({("w",): OfOutputs.held(form, some)}, form.batch_size, like)

    alike = [batch(queries.examples(0, 1)), batch(queries.examples(1, 4))]
    other = [batch(queries.examples(0, 1)), batch(Materialised(of_queries[1:]))]
    for batches in (alike, other):
        joined = Gradients.cat(batches)
        assert_close(joined.dot(met), expected)
        assert_close(joined.summed().dot(met), expected.sum(dim=0, keepdim=True))
        assert_close(joined.at(torch.tensor([2, 0])).dot(met), expected[[2, 0]])


@pytest.mark.parametrize("layout", ["oi", "io"])
@pytest.mark.parametrize("bias", [True, False])
def test_of_a_large_layer_not_even_one_gradient_is_written_out_whole(layout, bias, monkeypatch):
    monkeypatch.setattr(cost_module, "LARGEST_PIECE_BYTES", 8 * 30)
    monkeypatch.setattr(cost_module, "SCRATCH_BYTES", 8 * 14)
    draw = generator(3)
    inputs, grads = randn(draw, B, 1, 7, 7), randn(draw, B, 1, 7, 5)
    form = Factored(inputs, grads, bias=bias, layout=layout)
    written = torch.stack(
        [
            torch.cat([(d.mT @ x if layout == "oi" else x.mT @ d).flatten(), d.sum(0)[: 5 * bias]])
            for x, d in zip(inputs[:, 0], grads[:, 0], strict=True)
        ]
    )
    left = randn(draw, Q, written.shape[1])
    sizes = []
    whole = Factored.written

    def noted(self):
        sizes.append(self.batch_size * self.numbers)
        return whole(self)

    monkeypatch.setattr(Factored, "written", noted)
    assert_close(dot(Materialised(left), form), left @ written.mT, rtol=1e-12, atol=1e-12)
    assert_close(form.norm_of_written(), written.square().sum(1), rtol=1e-12, atol=1e-12)
    assert max(sizes) <= 14
