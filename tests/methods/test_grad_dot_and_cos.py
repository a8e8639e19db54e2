"""GradDot and GradCos against products of whole gradients."""

import pytest
import torch
from torch import nn

from headwater import (
    GradCos,
    GradDot,
    GradientStore,
    InputError,
    NonFiniteError,
    Projected,
    StoreMismatchError,
    TracInCP,
)
from tests.estimators.small import QUERIES, cross_entropy, states
from tests.oracles import methods, tracin

from .common import assert_close, make, matrix_of, random_numbers_left_alone, rows


def test_dot_products_are_averaged_over_checkpoints():
    queries, training = rows()
    expected = methods.grad_dot(queries, training)
    estimator = make(GradDot)
    with random_numbers_left_alone():
        assert_close(estimator.influence(*QUERIES), expected)
        own = sum(n.square().sum(dim=1) for n in training) / 2
        assert_close(estimator.influence(), own)
    top = estimator.influence(*QUERIES, k=3, proponents=False)
    assert torch.equal(top.indices, tracin.top_k(expected, 3, proponents=False)[0])


def test_rates_that_checkpoints_come_with_do_not_count():
    with_rates = list(zip(states(), [0.3, 0.07], strict=True))
    assert_close(
        make(GradDot, checkpoints=with_rates).influence(*QUERIES), make(GradDot).influence(*QUERIES)
    )
    with pytest.raises(InputError, match="generator"):
        make(GradDot, checkpoints=iter(states()))


def test_projected_dot_products_are_those_of_the_projections():
    form = Projected(6, seed=3)
    matrices = [matrix_of(form, place) for place in range(2)]
    projected = [
        [g @ matrix.T for g, matrix in zip(part, matrices, strict=True)] for part in rows()
    ]
    assert_close(make(GradDot, form=form).influence(*QUERIES), methods.grad_dot(*projected))


def test_a_store_answers_for_grad_dot_and_not_for_tracin(tmp_path):
    estimator = make(GradDot)
    GradientStore.build(estimator, tmp_path / "s", dtype="float64")
    stored = make(GradDot, data=str(tmp_path / "s"))
    assert_close(stored.influence(*QUERIES), estimator.influence(*QUERIES))
    with pytest.raises(StoreMismatchError, match="learning rates"):
        make(TracInCP, data=str(tmp_path / "s"), learning_rates=[0.3, 0.07])


def test_cosines_are_of_all_selected_parameters_at_each_checkpoint():
    queries, training = rows()
    expected = methods.grad_cos(queries, training)
    estimator = make(GradCos)
    with random_numbers_left_alone():
        assert_close(estimator.influence(*QUERIES), expected)
    # Not of the gradients of both checkpoints end to end.
    joined = methods.cosine(torch.cat(queries, dim=1), torch.cat(training, dim=1))
    assert (joined - expected).abs().max() > 1e-3
    top = estimator.influence(*QUERIES, k=2)
    assert torch.equal(top.indices, tracin.top_k(expected, 2)[0])
    scores = estimator.attribute(*QUERIES)
    assert_close(scores.over_queries().tensor()[0], expected.sum(dim=0))
    assert "cos(" in scores.meaning.formula


def test_cosines_in_any_loop_order_are_the_same():
    # A budget in which weights of both checkpoints don't fit.
    small = make(GradCos, memory_budget=1500)
    assert_close(small.influence(*QUERIES), make(GradCos).influence(*QUERIES))
    assert torch.equal(
        small.influence(*QUERIES, k=3).indices, make(GradCos).influence(*QUERIES, k=3).indices
    )


@pytest.mark.parametrize(("budget", "divided"), [(700, False), (300, True), (1, True)])
def test_parts_of_queries_gradients_keep_the_norm_of_the_whole(budget, divided):
    """Over groups of layers, and of a layer's outputs, cosines add up like products."""
    estimator = make(GradCos, memory_budget=budget)
    plan = estimator._streamed.plan(estimator._question(*QUERIES))
    assert len(plan.groups) > 1
    assert bool(plan.divided) == divided
    expected = methods.grad_cos(*rows())
    assert_close(estimator.influence(*QUERIES), expected)
    scores = estimator.attribute(*QUERIES)
    assert_close(scores.over_queries().tensor()[0], expected.sum(dim=0))


def test_cosines_have_no_self_influence_and_no_store(tmp_path):
    for ask in (make(GradCos).influence, make(GradCos).attribute):
        with pytest.raises(InputError, match="is 1, for every example"):
            ask()
    with pytest.raises(InputError, match="a store is built from"):
        GradientStore.build(make(GradCos), tmp_path / "s")
    with pytest.raises(InputError, match="isn't answered by stores"):
        make(GradCos, data="s")


def test_a_gradient_of_zero_has_no_cosine():
    net = nn.Linear(2, 2).double()
    inputs = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 1.0]], dtype=torch.float64)
    data = torch.utils.data.TensorDataset(inputs, torch.tensor([0, 1, 1]))
    options = {"layers": ["weight"], "loss_fn": cross_entropy, "batch_size": 2}
    estimator = GradCos(net, data, [dict(net.state_dict())], **options)
    with pytest.raises(NonFiniteError, match="training example 1 has a gradient of zero"):
        estimator.influence(inputs[:1], torch.tensor([0]))
    with pytest.raises(NonFiniteError, match="query 1 has a gradient of zero"):
        estimator.influence(inputs[:2], torch.tensor([0, 0]))
    later = GradCos(net, data, [dict(net.state_dict())], **options | {"batch_size": 1})
    with pytest.raises(NonFiniteError, match="training example 1 has"):
        later.influence(inputs[:1], torch.tensor([0]))


@pytest.mark.parametrize("margin", [44.0, 47.0, 55.0])
def test_gradients_whose_squares_underflow_have_their_direction(margin):
    """Examples that are fitted so well that float32 has hardly any digits of a squared norm."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(12) % 3
    inputs = torch.randn(12, 8, generator=generator) * 0.05
    inputs[torch.arange(12), targets] += 1
    net = nn.Sequential(nn.Linear(8, 3, bias=False))
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].weight[range(3), range(3)] = margin
    grads = []
    for x, y in zip(inputs, targets, strict=True):
        loss = cross_entropy(net(x[None]), y[None]).sum()
        grads.append(torch.autograd.grad(loss, list(net.parameters()))[0].flatten().double())
    unit = torch.stack([g / g.norm() for g in grads])
    data = torch.utils.data.TensorDataset(inputs, targets)
    estimator = GradCos(net, data, [dict(net.state_dict())], loss_fn=cross_entropy, batch_size=5)
    found = estimator.influence(inputs, targets)
    torch.testing.assert_close(found.double(), unit @ unit.T, rtol=1e-4, atol=1e-5)
    summed = estimator.attribute(inputs, targets).over_queries().tensor()[0]
    torch.testing.assert_close(summed.double(), (unit @ unit.T).sum(0), rtol=1e-4, atol=1e-4)


def test_gradients_whose_squares_overflow_have_their_direction():
    net = nn.Linear(2, 1, bias=False)
    inputs = torch.tensor([[3.0, 4.0], [1e22, 0.0], [0.0, -2e25]])
    data = torch.utils.data.TensorDataset(inputs, torch.zeros(3))

    def output(outputs, _):
        return outputs[:, 0]

    estimator = GradCos(net, data, [dict(net.state_dict())], loss_fn=output, batch_size=3)
    expected = torch.tensor([[1.0, 0.6, -0.8], [0.6, 1.0, 0.0], [-0.8, 0.0, 1.0]])
    torch.testing.assert_close(estimator.influence(inputs, torch.zeros(3)), expected)
