"""Random projection: one linear map whatever the form, without bias, of the variance of theory."""

from importlib import import_module

import pytest
import torch
from torch.testing import assert_close

from headwater import InputError
from headwater.forms import Gradients, Projected, cost
from headwater.forms.projected import PROJECTED, project
from headwater.forms.sketch import draw_sketch

from .dense import KINDS, TABLE_ROWS, WIDTH, grouped
from .test_algebra import generator

B = 3
LIKE = torch.empty(0, dtype=torch.float64)
every_kind = pytest.mark.parametrize("kind", KINDS)
two_sided_or_not = pytest.mark.parametrize("two_sided", [True, False])


@pytest.fixture
def choose(monkeypatch):
    def choose(two_sided):
        monkeypatch.setattr(
            import_module("headwater.forms.sketch"),
            "two_sided_sketch_is_cheaper",
            lambda *_, **__: two_sided,
        )

    return choose


@pytest.mark.parametrize("scratch", [8, 2**20])
@pytest.mark.parametrize("dim", [1, 6, 7])
@two_sided_or_not
@every_kind
def test_every_form_goes_through_the_same_linear_map(
    kind, two_sided, dim, scratch, choose, monkeypatch
):
    choose(two_sided)
    monkeypatch.setattr(cost, "SCRATCH_BYTES", scratch)
    form, rows = KINDS[kind](B, generator(1))
    sketch = draw_sketch(torch.Size([TABLE_ROWS, WIDTH]), dim, key="a key", like=LIKE)
    assert sketch.two_sided == two_sided
    matrix = sketch.of_flat(torch.eye(TABLE_ROWS * WIDTH, dtype=torch.float64))
    assert matrix.shape == (TABLE_ROWS * WIDTH, dim)
    assert torch.equal(matrix.abs().sum(1), torch.ones(len(matrix), dtype=torch.float64))
    assert_close(project(form, [sketch]), rows @ matrix, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
@two_sided_or_not
def test_groups_and_bias_have_maps_too(groups, bias, two_sided, choose):
    choose(two_sided)
    form, rows = grouped(B, generator(2), groups=groups, positions=3, bias=bias)
    sketches = [draw_sketch(torch.Size([groups * 2, 3]), 6, key="weight", like=LIKE)]
    if bias:
        sketches.append(draw_sketch(torch.Size([groups * 2]), 6, key="bias", like=LIKE))
    matrices = [s.of_flat(torch.eye(s.size, dtype=torch.float64)) for s in sketches]
    assert_close(project(form, sketches), rows @ torch.cat(matrices), rtol=1e-10, atol=1e-12)


def off_diagonal(matrix):
    return matrix - torch.diag(matrix.diagonal())


def variance_in_theory(left, right, dim, two_sided):
    """Of <S left, S right>, from the second moments of fully random buckets and signs."""
    if not two_sided:
        x, y = left.flatten(), right.flatten()
        return (x @ x * (y @ y) + (x @ y) ** 2 - 2 * (x * y).square().sum()) / dim
    # Pairs that share neither row nor column; those that share a row; those that share a column.
    other = 1 - torch.eye(left.shape[0])[:, None, :, None].double()
    other = other * (1 - torch.eye(left.shape[1])[None, :, None, :].double())
    both = torch.einsum("ij,kl->ijkl", left, right) * other
    swapped = both.permute(2, 3, 0, 1)
    half = torch.einsum("kj,il->ijkl", left, right) * other
    other_half = torch.einsum("il,kj->ijkl", left, right) * other
    coincide = (2 if dim % 2 == 0 else 1) / dim**2
    apart = (both * (both + swapped)).sum() / dim + (both * (half + other_half)).sum() * coincide
    shared = 0
    for product in (left.mT @ right, left @ right.mT):
        m = off_diagonal(product)
        shared = shared + (m * (m + m.mT)).sum() / dim
    return apart + shared


@pytest.mark.parametrize("dim", [7, 8])
@two_sided_or_not
@pytest.mark.parametrize("same", [True, False])
def test_mean_and_variance_over_many_seeds_are_those_of_theory(same, two_sided, dim, choose):
    choose(two_sided)
    seeds = 20_000
    left = torch.randn(3, 4, generator=generator(3), dtype=torch.float64)
    right = left if same else left + torch.randn(3, 4, generator=generator(4)).double()
    both = torch.stack([left.flatten(), right.flatten()])
    estimates = []
    for seed in range(seeds):
        sketch = draw_sketch(left.shape, dim, key=f"{seed}", like=LIKE)
        estimates.append(sketch.of_flat(both))
    projected = torch.stack(estimates)
    products = (projected[:, 0] * projected[:, 1]).sum(1)
    variance = variance_in_theory(left, right, dim, two_sided)
    assert abs(products.mean() - (left * right).sum()) < 4 * (variance / seeds).sqrt()
    assert_close(products.var(), variance, rtol=0.08, atol=0)


def test_a_projection_of_gradients_sums_over_blocks_and_differs_by_checkpoint():
    form, rows = KINDS["factored"](B, generator(5))
    gradients = Gradients({("w",): form}, B, LIKE)
    projection = Projected(dim=6, seed=3).projection({"w": torch.Size([TABLE_ROWS, WIDTH])})
    first, second = projection(gradients, 0), projection(gradients, 1)
    assert first.forms.keys() == {PROJECTED}
    assert first.forms[PROJECTED].materialise().shape == (B, 6)
    assert not torch.equal(*(g.forms[PROJECTED].materialise() for g in (first, second)))
    again = Projected(dim=6, seed=3).projection({"w": torch.Size([TABLE_ROWS, WIDTH])})
    assert torch.equal(*(p(gradients, 1).squared_norm() for p in (projection, again)))
    assert rows.shape == (B, TABLE_ROWS * WIDTH)


def test_a_projection_touches_no_global_generator():
    before = torch.get_rng_state()
    draw_sketch(torch.Size([30, 40]), 5, key="a", like=LIKE)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("options", [{"dim": 0}, {"dim": 2.0}, {"dim": True}, {"dim": "8"}])
def test_a_dim_that_means_nothing_is_refused(options):
    with pytest.raises(InputError, match=r"dim is .* expected a positive int"):
        Projected(**options)
    with pytest.raises(InputError, match="seed is 'x'; expected an int"):
        Projected(dim=3, seed="x")
