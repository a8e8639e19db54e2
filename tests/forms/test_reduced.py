"""Forms in bfloat16 against the same ones in float32, and which parts of them are rounded."""

from __future__ import annotations

import pytest
import torch

from headwater.forms import Convolved, Factored, Materialised, Reduced, Summed, dot
from headwater.forms.add import add
from headwater.forms.dot import for_pairs

B, Q = 3, 5


def factored(count: int, seed: int, bias: bool, groups: int = 1) -> Factored:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, groups, 40, 17, generator=generator).bfloat16()
    grads = torch.randn(count, groups, 40, 6, generator=generator).bfloat16()
    return Factored(inputs, grads, bias=bias)


def convolved(count: int, seed: int, bias: bool, groups: int = 1) -> Convolved:
    generator = torch.Generator().manual_seed(seed)
    channels = 32 if groups == 1 else 4
    inputs = torch.randn(count, channels, 9, 8, generator=generator).bfloat16()
    grads = torch.randn(count, 6, 7, 7, generator=generator).bfloat16()
    return Convolved(inputs, grads, (3, 2), (1, 1), (1, 1), groups=groups, bias=bias)


MADE = {
    "linear": lambda *of: factored(*of, bias=True),
    "linear without bias": lambda *of: factored(*of, bias=False),
    "linear in groups": lambda *of: factored(*of, bias=True, groups=2),
    "convolution in bands": lambda *of: convolved(*of, bias=True),
    "convolution": lambda *of: convolved(*of, bias=True, groups=2),
}


@pytest.fixture(params=MADE)
def make(request):
    return MADE[request.param]


def test_gradients_are_those_of_float32_but_for_one_rounding(make):
    reduced = Reduced(make(B, 0))
    wide = reduced.widened()
    assert {tensor.dtype for tensor in wide.tensors} == {torch.float32}
    written = wide.materialise()
    assert reduced.materialise().dtype == torch.float32
    # Each number has eight bits, of which the last one is rounded.
    apart = (reduced.materialise() - written).abs()
    assert bool((apart <= written.abs() * 2**-8 + 1e-6 * written.abs().max()).all())


def test_norms_and_products_with_written_queries_are_added_up_in_float32(make):
    reduced = Reduced(make(B, 0))
    wide = reduced.widened()
    written = reduced.materialise()
    queries = make(Q, 1)
    queries = queries.with_tensors(tuple(tensor.float() for tensor in queries.tensors))
    expected = queries.materialise() @ written.mT
    for form in (for_pairs(queries, queries=1000), Materialised(queries.materialise())):
        found = dot(form, reduced)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4 * expected.abs().max())
    norms = reduced.squared_norm()
    assert norms.dtype == torch.float32
    torch.testing.assert_close(norms, wide.squared_norm(), rtol=2**-8, atol=0)


def test_everything_else_is_answered_in_float32(make):
    reduced = Reduced(make(B, 0))
    wide = reduced.widened()
    queries = make(Q, 1)
    queries = queries.with_tensors(tuple(tensor.float() for tensor in queries.tensors))
    if isinstance(queries, Factored):
        # Factors meet factors.
        torch.testing.assert_close(dot(queries, reduced), dot(queries, wide), rtol=0, atol=0)
    weights = torch.rand(B, generator=torch.Generator().manual_seed(3))
    for name in ("weighted_sum", "magnitudes"):
        found, same = (getattr(form, name) for form in (reduced, wide))
        if name == "magnitudes":
            found, same = found().weighted_sum, same().weighted_sum
        torch.testing.assert_close(found(weights), same(weights), rtol=0, atol=0)
    sizes = [wide.numbers - 6, 6] if wide.bias and wide.groups == 1 else [wide.numbers]
    for one, other in zip(reduced.split(sizes), wide.split(sizes), strict=True):
        torch.testing.assert_close(one.materialise(), other.materialise(), rtol=0, atol=0)
    both = Reduced.cat([reduced.examples(0, 1), reduced.examples(1, B)])
    torch.testing.assert_close(both.materialise(), reduced.materialise(), rtol=2**-8, atol=1e-2)


def test_the_sum_of_two_uses_of_a_layer_has_both(make):
    one, other = make(B, 0), make(B, 2)
    found = add([Reduced(one), Reduced(other)])
    expected = sum(Reduced(form).widened().materialise() for form in (one, other))
    assert not isinstance(found, Summed)
    torch.testing.assert_close(found.materialise(), expected, rtol=1e-4, atol=1e-4)
