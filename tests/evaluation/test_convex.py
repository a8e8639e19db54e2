"""Minima to a tolerance, and leave-one-out between them."""

import pytest
import torch
from torch import nn

from headwater import ConvergenceError, InputError
from headwater.evaluation import ConvexRetraining, Run, Subsets, block_removal, leave_one_out

from .digits import CROSS_ENTROPY, digits, linear, mlp, pooled

L2 = 1e-2


def convex(count=120, **changes):
    data = pooled(0, count)
    known = {"l2": L2, "loss_fn": CROSS_ENTROPY}
    return ConvexRetraining(linear, data, **{**known, **changes})


def by_lbfgs(inputs, targets, divisor):
    """The minimum, by an optimizer that shares nothing with Newton's method here."""
    model = linear()
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=2000,
        tolerance_grad=1e-13,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
        history_size=50,
    )

    def closure():
        optimizer.zero_grad()
        loss = CROSS_ENTROPY(model(inputs), targets).sum() / divisor
        loss = loss + L2 / 2 * sum(p.square().sum() for p in model.parameters())
        loss.backward()
        return loss

    optimizer.step(closure)
    return model


def test_minima_are_those_of_another_optimizer():
    retraining = convex()
    inputs, targets = retraining.data.whole
    half = torch.arange(0, 120, 2)
    runs = [retraining.whole(0), Run(half, 0), Run(torch.arange(120), 0, torch.tensor([7, 8, 50]))]
    states = retraining.states(runs)
    for number, run in enumerate(runs):
        kept = run.present(120)
        model = by_lbfgs(inputs[kept], targets[kept], len(run.members))
        torch.testing.assert_close(states["weight"][number], model.weight, rtol=0, atol=1e-6)
        torch.testing.assert_close(states["bias"][number], model.bias, rtol=0, atol=1e-6)


def test_the_gradient_is_within_the_tolerance_on_very_different_subsets():
    retraining = convex(tolerance=1e-11)
    inputs, targets = retraining.data.whole
    runs = [Run((targets == digit).nonzero()[:, 0], 0) for digit in range(3)]
    states = retraining.states(runs)
    for model, run in zip(retraining.trained(states), runs, strict=True):
        model.zero_grad()
        with torch.enable_grad():
            loss = CROSS_ENTROPY(model(inputs[run.members]), targets[run.members]).mean()
            loss = loss + L2 / 2 * sum(p.square().sum() for p in model.parameters())
            grads = torch.autograd.grad(loss, list(model.parameters()))
        assert max(float(grad.abs().max()) for grad in grads) <= 1.1e-11


def test_leave_one_out_is_the_change_between_two_minima():
    retraining = convex()
    inputs, targets = retraining.data.whole
    queries = pooled(1500, 1504)
    removals = leave_one_out(retraining, queries, examples=[5, 60])
    full = by_lbfgs(inputs, targets, 120)
    for column, place in enumerate((5, 60)):
        kept = torch.arange(120) != place
        without = by_lbfgs(inputs[kept], targets[kept], 120)
        with torch.no_grad():
            rise = CROSS_ENTROPY(without(queries[0]), queries[1]) - CROSS_ENTROPY(
                full(queries[0]), queries[1]
            )
        torch.testing.assert_close(removals.changes[0, :, column], rise, rtol=1e-3, atol=3e-8)


def influence_function(retraining, queries):
    """g_q^T H^-1 g_n in dense float64, by loops of autograd."""
    inputs, targets = retraining.data.whole
    model = next(iter(retraining.trained(retraining.states([retraining.whole(0)]))))

    def gradient(x, y):
        with torch.enable_grad():
            loss = CROSS_ENTROPY(model(x[None]), y[None]).sum()
            return torch.cat([g.flatten() for g in torch.autograd.grad(loss, model.parameters())])

    rows = torch.stack([gradient(x, y) for x, y in zip(inputs, targets, strict=True)])
    asked = torch.stack([gradient(x, y) for x, y in zip(*queries, strict=True)])
    chances = model(inputs).softmax(dim=1).detach()
    with_one = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1).double()
    spread = torch.diag_embed(chances) - chances[:, :, None] * chances[:, None, :]
    blocks = torch.einsum("nab,ni,nj->aibj", spread, with_one, with_one) / len(inputs)
    # Weights of a class, then its bias, to all weights, then all biases.
    size = with_one.shape[1]
    order = [a * size + i for a in range(10) for i in range(size - 1)]
    order += [a * size + size - 1 for a in range(10)]
    hessian = blocks.reshape(10 * size, 10 * size)[order][:, order] + L2 * torch.eye(10 * size)
    return asked @ torch.linalg.solve(hessian, rows.mT) / len(inputs)


def test_the_exact_influence_function_predicts_leave_one_out():
    retraining = convex(200)
    queries = pooled(1500, 1510)
    scores = influence_function(retraining, queries)
    removals = leave_one_out(retraining, queries)
    agreement = removals.agreement(scores)
    assert agreement.pearson > 0.99
    assert removals.agreement_of_seeds() is None
    swapped = removals.agreement(scores.mT, axes="NQ")
    assert (swapped.pearson, swapped.spearman) == (agreement.pearson, agreement.spearman)


def test_the_exact_influence_function_has_an_lds_near_1(tmp_path):
    from headwater.evaluation import RetrainedBank, linear_datamodeling_score

    retraining = convex(200)
    queries = pooled(1500, 1510)
    bank = RetrainedBank.build(tmp_path, retraining, Subsets(40, fraction=0.8, runs=1), queries)
    scores = influence_function(retraining, queries)
    lds = linear_datamodeling_score(scores, bank)
    assert lds.value > 0.95
    assert lds.ceiling == 1.0
    assert lds.low < lds.value < lds.high
    opposite = linear_datamodeling_score(-scores, bank)
    assert opposite.value == pytest.approx(-lds.value)
    assert linear_datamodeling_score(scores, bank, quantity="margin").value > 0.9


def test_what_is_not_convex_or_not_exact_is_refused():
    with pytest.raises(ConvergenceError, match="isn't convex"):
        ConvexRetraining(
            lambda: nn.Sequential(nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 10)).double(),
            digits(0, 40),
            l2=1e-6,
            loss_fn=lambda p, t: CROSS_ENTROPY(p, t) - 3 * p.square().sum(dim=1),
        ).states([Run(torch.arange(40), 0)])
    convex_float = digits(0, 40, torch.float32)
    with pytest.raises(InputError, match="isn't in float64"):
        ConvexRetraining(nn.Linear(64, 10), convex_float, l2=L2, loss_fn=CROSS_ENTROPY)
    with pytest.raises(InputError, match="l2 is 0"):
        convex(l2=0)
    from headwater.evaluation import Recipe, RecipeRetraining

    network = RecipeRetraining(mlp, digits(0, 40), Recipe(1, 8, 0.1), loss_fn=CROSS_ENTROPY)
    with pytest.raises(InputError, match="block_removal"):
        leave_one_out(network, digits(1500, 1502))
    with pytest.raises(InputError, match="no training example"):
        block_removal(network, digits(1500, 1502), [[]])
