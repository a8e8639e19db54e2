"""Products of dense queries with gradients of rank one against the same written out."""

import pytest
import torch

from headwater.forms import Factored, Materialised, dot


@pytest.mark.parametrize("layout", ["oi", "io"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(("groups", "fan_in", "fan_out"), [(1, 5, 3), (1, 3, 5), (2, 4, 3)])
def test_dense_queries_meet_factors(layout, bias, groups, fan_in, fan_out):
    generator = torch.Generator().manual_seed(0)

    def rows(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    examples = Factored(rows(7, groups, 1, fan_in), rows(7, groups, 1, fan_out), bias, layout)
    queries = rows(4, examples.numbers)
    expected = queries @ examples.materialise().mT
    torch.testing.assert_close(dot(Materialised(queries), examples), expected)
    torch.testing.assert_close(dot(examples, Materialised(queries)), expected.mT)
