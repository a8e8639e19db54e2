"""Products of many vectors with a transposed Jacobian: one by one, or together."""

import pytest
import torch
from torch import nn

from headwater.capture.graph_size import graph_size
from headwater.capture.transposed_products import transposed_products


def case():
    torch.manual_seed(0)
    a = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    b = torch.randn(4, dtype=torch.float64, requires_grad=True)
    unused = torch.randn(2, dtype=torch.float64, requires_grad=True)
    outputs = [torch.tanh(a @ b), torch.ones(2, dtype=torch.float64), (a * b).sum(0)]
    directions = [torch.randn(5, *out.shape, dtype=torch.float64) for out in outputs]
    return outputs, [a, b, unused], directions


def one_by_one(outputs, inputs, directions):
    rows = []
    for row in range(len(directions[0])):
        total = sum((o * d[row]).sum() for o, d in zip(outputs, directions, strict=True))
        found = torch.autograd.grad(total, inputs, retain_graph=True, materialize_grads=True)
        rows.append(found)
    return [torch.stack(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 64])
def test_they_are_the_same_however_many_go_at_once(at_once):
    outputs, inputs, directions = case()
    found = transposed_products(outputs, inputs, directions, at_once=at_once)
    for one, right in zip(found, one_by_one(outputs, inputs, directions), strict=True):
        torch.testing.assert_close(one, right, rtol=1e-12, atol=1e-12)
        assert not one.requires_grad


class Doubled(torch.autograd.Function):
    """Without a rule for many vectors: its backward pass looks at a number."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return grad * (2.0 if float(grad.sum()) > -1e9 else 0.0)


def test_operators_that_take_single_vectors_alone_get_them():
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    directions = torch.randn(4, 3, dtype=torch.float64)
    (found,) = transposed_products([Doubled.apply(x)], [x], [directions], at_once=3)
    torch.testing.assert_close(found, 2 * directions)


def test_what_depends_on_nothing_has_gradients_of_zero():
    x = torch.randn(3, requires_grad=True)
    (found,) = transposed_products([torch.ones(2)], [x], [torch.randn(4, 2)], at_once=2)
    assert torch.equal(found, torch.zeros(4, 3))


class Both(nn.Module):
    """A module that returns a tuple, and one that returns what its child did."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True))

    def forward(self, x):
        y = self.inner(x)
        return y, {"sum": y.sum(1)}


def test_the_size_of_a_graph_is_what_modules_return_each_once():
    model = Both()
    hooks = [dict(module._forward_hooks) for module in model.modules()]
    with graph_size(model) as size:
        model(torch.randn(3, 4))
    # The layer's outputs, written over by the activation, and the sums.
    assert size.nbytes == 4 * (3 * 8 + 3)
    assert [dict(module._forward_hooks) for module in model.modules()] == hooks


def test_small_graphs_take_many_vectors_at_a_time_and_large_ones_one_by_one():
    model = nn.Linear(4, 8)
    counts = []
    for examples in (1, 4_000, 10_000, 200_000):
        with graph_size(model) as size:
            model(torch.zeros(examples, 4))
        counts.append(size.vectors_at_once)
    assert counts == [64, 32, 13, 1]
