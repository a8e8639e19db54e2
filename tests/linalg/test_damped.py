"""Damped inverses against `torch.linalg.inv` in float64."""

import pytest
import torch

from headwater import InputError
from headwater.linalg import damped_gram, damped_kernel

GENERATOR = torch.Generator().manual_seed(0)
VECTORS = torch.randn(4, 6, generator=GENERATOR, dtype=torch.float64)
ASKED = torch.randn(3, 6, generator=GENERATOR, dtype=torch.float64)


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("damping", [0.3, 1e-4])
def test_both_ways_give_the_inverse(scale, damping):
    gram = scale * VECTORS.mT @ VECTORS
    inverse = torch.linalg.inv(gram + damping * torch.eye(6, dtype=torch.float64))
    direct = damped_gram(gram, damping, examples=4, name="test")
    kernel = damped_kernel(VECTORS, damping, scale=scale)
    for found in (direct, kernel):
        torch.testing.assert_close(found.solve(ASKED), ASKED @ inverse, rtol=1e-9, atol=1e-9)
        quadratic = (ASKED @ inverse * ASKED).sum(dim=1)
        torch.testing.assert_close(found.quadratic(ASKED), quadratic, rtol=1e-9, atol=1e-9)
        assert found.solve(ASKED.float()).dtype == torch.float32


def test_automatic_damping_does_not_fall_with_dimensions_that_hold_nothing():
    gram = VECTORS.mT @ VECTORS
    found = damped_gram(gram, "auto", examples=4, name="test")
    assert found.damping == pytest.approx(0.1 * float(torch.linalg.eigvalsh(gram)[-4:].mean()))
    padded = torch.nn.functional.pad(gram, (0, 5, 0, 5))
    assert damped_gram(padded, "auto", examples=4, name="test").damping == found.damping
    few = damped_gram(gram, "auto", examples=9, name="test")
    assert few.damping == pytest.approx(0.1 * float(gram.diagonal().mean()))


def test_without_damping_few_vectors_have_no_inverse():
    assert damped_kernel(VECTORS, 0.0, scale=1.0) is None
    gram = torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64))
    with pytest.raises(
        InputError, match=r"3 x 3 matrix of inner products of test has no inverse.*auto"
    ):
        damped_gram(gram, 0.0, examples=2, name="test")
    with pytest.raises(InputError, match=r"test are zero for all 2 training examples"):
        damped_gram(torch.zeros_like(gram), "auto", examples=2, name="test")
