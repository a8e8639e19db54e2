"""TracIn over every update: against a plain double loop, and in what it adds up to."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import ExactUnrolling, InputError, TracInIdeal, TrainingRun
from tests.estimators.small import QUERIES, TRAINING, Small, assert_close, cross_entropy, model
from tests.oracles import unrolled

from .runs import BATCHES, CASES, rates, smooth, trained


def expected(case, share, **options):
    net = smooth()
    optimizer = case.optimizer(net)
    arguments = (TRAINING, BATCHES, cross_entropy, optimizer, QUERIES)
    return unrolled.first_order(net, *arguments, share, **options)


def test_with_plain_sgd_it_is_tracin_at_every_update():
    rate = rates(smooth(), 0.3, 0.07)
    scores = TracInIdeal(trained(CASES["plain"])).influence(*QUERIES)
    assert_close(
        scores, expected(CASES["plain"], lambda s, t, name: -rate[name] if s == t else 0.0)
    )


@pytest.mark.parametrize("name", ["momentum", "AdamW"])
def test_many_queries_have_the_scores_that_few_have(name):
    """Many are taken some at a time, and meet the gradients of the batch's examples."""
    few = TracInIdeal(trained(CASES[name])).influence(*QUERIES)
    shifted = (QUERIES[0] + 0.1, QUERIES[1])
    other = TracInIdeal(trained(CASES[name])).influence(*shifted)
    many = [torch.cat([a, b] * 6) for a, b in zip(QUERIES, shifted, strict=True)]
    scores = TracInIdeal(trained(CASES[name])).influence(*many)
    assert len(scores) > 16
    assert_close(scores, torch.cat([few, other] * 6))


def test_clipping_by_the_norm_counts_as_given():
    """A number that gradients are multiplied by, whether taken by query or by example."""
    rate = rates(smooth(), 0.3, 0.07)

    def share(s, t, name):
        return -rate[name] if s == t else 0.0

    right = expected(CASES["plain"], share, max_norm=0.8)
    assert (right - expected(CASES["plain"], share)).abs().max() > 1e-3
    run = trained(CASES["plain"], max_grad_norm=0.8)
    assert_close(TracInIdeal(run).influence(*QUERIES), right)
    # One query at a time is fewer than the examples of a batch.
    for place in range(len(QUERIES[0])):
        one = TracInIdeal(run).influence(*(column[place : place + 1] for column in QUERIES))
        assert_close(one, right[place : place + 1])


@pytest.mark.parametrize("max_norm", [None, 0.8])
def test_gradients_of_examples_are_those_under_dropout_as_it_was_drawn(max_norm):
    """What capture sees, in eval mode, is another gradient, and has to be noticed."""

    def start():
        net = model(kind=Small).train()
        return net, torch.optim.SGD(net.parameters(), lr=0.3)

    net, optimizer = start()
    torch.manual_seed(5)
    run = TrainingRun.train(
        net,
        TensorDataset(*TRAINING),
        optimizer,
        BATCHES,
        nn.CrossEntropyLoss(),
        max_grad_norm=max_norm,
    )
    net, optimizer = start()
    right = torch.zeros(2, 7, dtype=torch.float64)
    torch.manual_seed(5)
    for places in BATCHES:
        inputs, targets = (column[places] for column in TRAINING)
        each = cross_entropy(net(inputs), targets)
        own = [torch.autograd.grad(e, list(net.parameters()), retain_graph=True) for e in each]
        net.eval()
        asked = cross_entropy(net(QUERIES[0]), QUERIES[1])
        of = [torch.autograd.grad(e, list(net.parameters()), retain_graph=True) for e in asked]
        net.train()
        optimizer.zero_grad()
        each.mean().backward()
        factor = 1.0
        if max_norm is not None:
            norm = float(nn.utils.clip_grad_norm_(net.parameters(), max_norm))
            factor = min(1.0, max_norm / (norm + 1e-6))
        optimizer.step()
        for q, query in enumerate(of):
            for n, example in zip(places, own, strict=True):
                dot = sum((a * b).sum() for a, b in zip(query, example, strict=True))
                right[q, n] += 0.3 * factor * dot / len(places)
    found = TracInIdeal(run).influence(*QUERIES)
    assert_close(found, right)
    many = TracInIdeal(run).influence(*(torch.cat([column] * 3) for column in QUERIES))
    assert_close(many, torch.cat([right] * 3))


def test_self_influence_is_each_examples_score_for_its_own_loss():
    run = trained(CASES["momentum"])
    assert_close(TracInIdeal(run).influence(), TracInIdeal(run).influence(*TRAINING).diagonal())


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("momentum", lambda ago, first: 0.9**ago),
        ("dampening", lambda ago, first: (1.0 if first else 0.7) * 0.8**ago),
        ("nesterov", lambda ago, first: 0.9 ** (ago + 1) + (0.0 if ago else 1.0)),
    ],
)
def test_with_momentum_a_gradient_acts_on_in_later_updates(name, share):
    rate = rates(smooth(), 0.3, 0.07)
    scores = TracInIdeal(trained(CASES[name])).influence(*QUERIES)
    assert_close(scores, expected(CASES[name], lambda s, t, n: -rate[n] * share(s - t, t == 0)))


def test_with_adam_second_moments_count_as_given():
    """Shares of the first moments in each update, scaled by the second as they were."""
    case, (b1, b2), eps = CASES["AdamW"], (0.9, 0.999), 1e-8
    net = smooth()
    optimizer = case.optimizer(net)
    squares: list[dict[str, torch.Tensor]] = []
    for places in BATCHES:
        inputs, targets = (column[places] for column in TRAINING)
        optimizer.zero_grad()
        cross_entropy(net(inputs), targets).mean().backward()
        optimizer.step()
        squares.append(
            {n: optimizer.state[p]["exp_avg_sq"].clone() for n, p in net.named_parameters()}
        )
    rate = rates(net, 0.05, 0.02)

    def share(s, t, name):
        scale = (squares[s][name] / (1 - b2 ** (s + 1))).sqrt() + eps
        return -rate[name] * (1 - b1) * b1 ** (s - t) / (1 - b1 ** (s + 1)) / scale

    assert_close(TracInIdeal(trained(case)).influence(*QUERIES), expected(case, share))


def small_steps(**options):
    net = smooth()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.0)
    batches = [b for _ in range(3) for b in BATCHES]
    with torch.no_grad():
        before = cross_entropy(net(QUERIES[0]), QUERIES[1])
    run = TrainingRun.train(
        net, TensorDataset(*TRAINING), optimizer, batches, nn.CrossEntropyLoss()
    )
    scores = TracInIdeal(run, **options).influence(*QUERIES)
    return scores.sum(dim=1), before - run.losses(*QUERIES)


def test_scores_add_up_to_the_fall_of_the_loss():
    found, fall = small_steps()
    torch.testing.assert_close(found, fall, rtol=1e-2, atol=0)


def test_with_second_moments_differentiated_examples_stand_against_one_another():
    found, fall = small_steps(second_moments="differentiated")
    assert (found.abs() < 0.3 * fall.abs()).all()


def test_at_the_end_of_a_linear_models_run_it_is_exact_unrolling():
    """A loss that is linear in the weights has no second derivative to leave out."""

    def linear(predictions, targets):
        return predictions[range(len(targets)), targets]

    net = nn.Linear(5, 3).double()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9, weight_decay=0.1)
    run = TrainingRun.train(net, TensorDataset(*TRAINING), optimizer, BATCHES, linear)
    at_the_end = TracInIdeal(run, query_gradients="end").influence(*QUERIES)
    assert_close(at_the_end, ExactUnrolling(run, check=False).influence(*QUERIES))


@pytest.mark.parametrize(
    "options", [{"query_gradients": "start"}, {"second_moments": True}, {"memory_budget": "much"}]
)
def test_odd_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        TracInIdeal(trained(CASES["plain"]), **options)
