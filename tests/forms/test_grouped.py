"""Gradients of kernels by one convolution of all examples, against autograd one by one."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from headwater.forms import Banded, Convolved, Materialised, convolved, cost, dot, grouped
from headwater.forms.dot import for_pairs

B = 3
# Channels in and out, kernel, stride, dilation, padding, groups.
LAYERS = {
    "two axes": (2, 5, (3, 2), (1, 1), (1, 1), (), 1),
    "two axes, padded": (2, 5, (3, 2), (1, 1), (1, 1), (0, 1), 1),
    "strided, dilated, padded, in groups": (4, 6, (2, 3), (2, 3), (2, 1), (2, 1), 2),
    "three axes": (3, 4, (1, 2, 3), (1, 2, 1), (2, 1, 1), (1, 0, 2), 1),
}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}


def form_of(name, dtype, *, bias=True, seed=0):
    """The form, and the gradients of its kernel and bias in float64."""
    generator = torch.Generator().manual_seed(seed)
    channels, outputs, kernel, stride, dilation, padding, groups = LAYERS[name]
    kind = {2: nn.Conv2d, 3: nn.Conv3d}[len(kernel)]
    options = {"stride": stride, "dilation": dilation, "groups": groups, "bias": bias}
    options["padding"] = padding or 0
    layer = kind(channels, outputs, kernel, **options).double()
    inputs = torch.randn(B, channels, *(7, 9, 8)[: len(kernel)], generator=generator).to(dtype)
    grads = torch.randn(layer(inputs.double()).shape, generator=generator).to(dtype)
    rows = []
    for x, d in zip(inputs.double(), grads.double(), strict=True):
        found = torch.autograd.grad((layer(x[None]) * d).sum(), list(layer.parameters()))
        rows.append(torch.cat([part.flatten() for part in found]))
    form = Convolved(inputs, grads, kernel, stride, dilation, groups, bias, padding)
    return form, torch.stack(rows)


@pytest.fixture
def always(monkeypatch):
    """Wherever it can be done at all, in float64 as well."""
    monkeypatch.setattr(convolved, "groups_are_cheaper", lambda form: True)
    monkeypatch.setattr(grouped, "_dtypes", lambda: frozenset(TOLERANCE))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("many_pieces", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_norms_and_products(name, dtype, bias, many_pieces, monkeypatch):
    if many_pieces:
        monkeypatch.setattr(cost, "SCRATCH_BYTES", 8)
    form, expected = form_of(name, dtype, bias=bias)
    queries, of_queries = form_of(name, dtype, bias=bias, seed=1)
    assert form.as_groups
    assert not form.in_bands
    tolerance = TOLERANCE[dtype]

    def close(found, expected):
        scale = float(expected.abs().max())
        assert_close(found.double(), expected, rtol=tolerance, atol=tolerance * scale)

    close(form.materialise(), expected)
    close(form.squared_norm(), expected.square().sum(dim=1))
    held = for_pairs(queries, queries=B)
    if dtype != torch.bfloat16 or isinstance(held, Materialised):
        close(dot(held, form), of_queries @ expected.mT)
    close(
        dot(Materialised(of_queries.to(form.materialise().dtype)), form), of_queries @ expected.mT
    )


@pytest.mark.parametrize("bands", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_zeros_that_are_thought_are_there_in_windows_and_in_bands(name, bands, monkeypatch):
    monkeypatch.setattr(convolved, "bands_are_cheaper", lambda form: bands)
    form, expected = form_of(name, torch.float64)
    assert_close(form.materialise(), expected)
    assert_close(form.squared_norm(), expected.square().sum(dim=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_chosen_where_kernels_are_small_and_images_large(dtype):
    if dtype not in grouped._dtypes():
        pytest.skip("this processor has no code for it")

    def layer(channels, outputs, side):
        images = [torch.randn(2, width, side, side, dtype=dtype) for width in (channels, outputs)]
        padded = nn.functional.pad(images[0], (1, 1, 1, 1))
        return Convolved(padded, images[1], (3, 3), (1, 1), (1, 1))

    assert layer(16, 8, 16).as_groups
    assert not layer(16, 8, 8).as_groups
    assert not layer(3, 16, 32).as_groups
    # Queries are held as what they will meet.
    assert isinstance(for_pairs(layer(32, 32, 16), queries=20), Materialised)
    assert isinstance(for_pairs(layer(32, 32, 8), queries=20), Banded)


@pytest.mark.usefixtures("always")
def test_what_it_is_not_for(monkeypatch):
    form, _ = form_of("two axes", torch.float32)
    # A layer that leaves out windows that its input has room for.
    fewer = form.with_tensors((form.inputs, form.output_grads[:, :, :-1].contiguous()))
    assert not fewer.as_groups
    generator = torch.Generator().manual_seed(2)
    line = Convolved(
        torch.randn(B, 2, 7, generator=generator),
        torch.randn(B, 5, 5, generator=generator),
        (3,),
        (1,),
        (1,),
    )
    assert not line.as_groups
    assert not form.with_tensors(tuple(t.to("meta") for t in form.tensors)).as_groups
    assert form.as_groups
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert not form.as_groups
    monkeypatch.undo()
    assert not form_of("two axes", torch.float64)[0].as_groups
