"""What a question settles serves those after it, and never more than that."""

import logging

import pytest
import torch
from torch import nn

from headwater import ModelError, register_rule
from headwater.capture import registry
from headwater.tasks import LossTask
from headwater.tasks.task import LossSum
from tests.estimators.small import (
    QUERIES,
    RATES,
    N,
    Q,
    Small,
    assert_close,
    cross_entropy,
    expected_scores,
    expected_self_influence,
    labels,
    make,
    model,
    rows,
    states,
)
from tests.oracles import tracin


class Counting(LossTask):
    """Notes how many examples go through the model."""

    def __init__(self):
        super().__init__(cross_entropy, reduction="none")
        self.seen = 0

    def losses(self, model, batch):
        self.seen += len(batch[-1])
        return super().losses(model, batch)

    def summed(self, model, batch):
        # Past the shortcut of LossTask, which doesn't come by `losses`.
        losses = self.losses(model, batch)
        return LossSum(losses.sum(), len(losses))


class Scale(nn.Module):
    """A layer that no rule is written for."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.full((4,), 1.3, dtype=torch.float64))

    def forward(self, x):
        return x * self.factor


class Named(nn.Linear):
    """Computes what `nn.Linear` does, or something that its rule knows nothing of."""

    squared = None

    def forward(self, x):
        found = super().forward(x)
        return found + (x.sum(dim=1, keepdim=True) * self.weight.square().sum()) * bool(
            type(self).squared
        )


def test_questions_after_the_first_put_fewer_examples_through_the_model():
    task = Counting()
    estimator = make(loss_fn=None, task=task, batch_size="auto")
    seen = []
    for _ in range(3):
        task.seen = 0
        assert_close(estimator.influence(QUERIES), expected_scores())
        seen.append(task.seen)
    first, second, third = seen
    asked = 2 * (N + Q)
    # Of either kind the first batch and the second are looked at, two examples of each.
    assert second == third <= asked + 2 * 2 * 2
    assert first > second + N
    task.seen = 0
    assert_close(estimator.influence(), expected_self_influence())
    assert task.seen <= 2 * N + 2 * 2


def test_what_a_question_learns_is_not_told_again(caplog):
    class Scaled(Small):
        def __init__(self):
            super().__init__()
            self.scale = Scale()

        def forward(self, x):
            return self.fc(self.scale(torch.tanh(self.body(self.fc10(torch.tanh(self.fc1(x)))))))

    states = [dict(model(seed, Scaled).state_dict()) for seed in (1, 2)]
    estimator = make(model=model(0, Scaled), checkpoints=states)
    with caplog.at_level(logging.INFO, "headwater"):
        first = estimator.influence(*QUERIES)
        told = len(caplog.records)
        torch.testing.assert_close(estimator.influence(*QUERIES), first, rtol=0, atol=0)
    assert len(caplog.records) <= 2 * told
    assert not any("starting anew" in record.message for record in caplog.records)


def _expected(net):
    def loss(module, example):
        return cross_entropy(module(example[0]), example[1]).squeeze(0)

    queries = [(QUERIES[0][i : i + 1], QUERIES[1][i : i + 1]) for i in range(Q)]
    training = make().influence_src_dataset.tensors
    singles = [(training[0][i : i + 1], training[1][i : i + 1]) for i in range(N)]
    given = list(zip(states(), RATES, strict=True))
    return tracin.influence_scores(net, given, loss, singles, queries, tracin.trainable_names(net))


def test_a_model_that_computes_otherwise_than_it_did_is_settled_anew(caplog):
    net = model()
    estimator = make(model=net)
    assert_close(estimator.influence(*QUERIES), expected_scores())
    # The same names and shapes, in a layer with an instance's own forward.
    linear = net.fc10
    given = linear.forward
    linear.forward = lambda x: given(x) + (linear.weight.square().sum() * x[:, :1]).tanh()
    with caplog.at_level(logging.WARNING, "headwater"):
        found = estimator.influence(*QUERIES)
    assert not any("starting anew" in record.message for record in caplog.records)
    assert_close(found, _expected(net))
    assert not torch.allclose(found, expected_scores())


@pytest.mark.parametrize("batch_size", [1, 3, N])
def test_a_change_that_nothing_shows_is_noticed_by_the_look_at_the_first_batch(
    batch_size, monkeypatch
):
    class Hidden(Small):
        def __init__(self):
            super().__init__()
            self.fc10 = Named(4, 6)

    net = model(0, Hidden)
    estimator = make(model=net, batch_size=batch_size)
    assert_close(estimator.influence(*QUERIES), _expected(net))
    monkeypatch.setattr(Named, "squared", True)
    found = estimator.influence(*QUERIES)
    assert_close(found, _expected(net))
    assert_close(estimator.influence(*QUERIES), found)


def test_a_hook_that_mixes_examples_is_refused_though_the_model_was_fine():
    net = model()
    estimator = make(model=net)
    estimator.influence(*QUERIES)
    handle = net.fc10.register_forward_hook(lambda _, __, output: output - output.mean(dim=0))
    with pytest.raises(ModelError, match="mixes the examples of a batch"):
        estimator.influence(*QUERIES)
    handle.remove()
    assert_close(estimator.influence(*QUERIES), expected_scores())


def test_queries_of_another_shape_are_settled_anew():
    class Lengths(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(5, 4)
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(torch.tanh(self.embed(x)).mean(dim=1))

    net = model(0, Lengths)
    data = torch.utils.data.TensorDataset(rows(N, 10, 6, 5), labels(N, 11))
    given = [dict(model(seed, Lengths).state_dict()) for seed in (1, 2)]
    estimator = make(model=net, influence_src_dataset=data, checkpoints=given)
    for length in (6, 2, 9, 2):
        queries = rows(Q, 20 + length, length, 5), labels(Q, 21)
        alone = make(model=net, influence_src_dataset=data, checkpoints=given)
        torch.testing.assert_close(
            estimator.influence(*queries), alone.influence(*queries), rtol=1e-12, atol=1e-14
        )
    assert estimator.influence(*queries, k=2).indices.shape == (Q, 2)


def test_a_question_that_fails_settles_nothing():
    net = model()
    estimator = make(model=net)
    bad = QUERIES[0] * float("nan"), QUERIES[1]
    for _ in range(2):
        with pytest.raises(Exception, match="query 0"):
            estimator.influence(*bad)
    assert_close(estimator.influence(*QUERIES), expected_scores())
    with pytest.raises(Exception, match="query 0"):
        estimator.influence(*bad)


def test_losses_that_have_lost_their_gradient_are_refused_by_a_later_question_too(monkeypatch):
    net = model()
    estimator = make(model=net)
    expected = estimator.influence(*QUERIES)
    monkeypatch.setattr(Small, "forward", torch.no_grad()(Small.forward))
    for ask in (
        lambda: estimator.influence(*QUERIES),
        estimator.influence,
        lambda: estimator.influence(*QUERIES, k=2),
        make(model=net).influence,
    ):
        with pytest.raises(ModelError, match="the losses have no gradient"):
            ask()
    monkeypatch.undo()
    assert_close(estimator.influence(*QUERIES), expected)


class Texts(torch.utils.data.Dataset):
    """Texts that are made longer between questions."""

    length = 4

    def __len__(self):
        return 600

    def __getitem__(self, place):
        return torch.full((self.length,), place % 50), torch.tensor(place % 3)


def test_batches_shrink_where_examples_have_grown():
    seen = []

    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(50, 16)
            self.fc = nn.Linear(16, 3)

        def forward(self, x):
            seen.append(x.numel())
            return self.fc(torch.tanh(self.embed(x)).mean(dim=1))

    net, texts = Read(), Texts()
    estimator = make(
        model=net,
        influence_src_dataset=texts,
        checkpoints=[net.state_dict()],
        learning_rates=[0.3],
        batch_size="auto",
        memory_budget="4MB",
    )
    estimator.influence()
    most = max(seen)
    texts.length = 400
    seen.clear()
    estimator.influence()
    assert max(seen) <= 4 * most


def test_a_rule_that_is_registered_later_is_used(monkeypatch):
    monkeypatch.setattr(registry, "_rules", dict(registry._rules))

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 4)
            self.scale = Scale()

        def forward(self, x):
            return self.scale(self.fc(x))

    net = model(0, Last)
    estimator = make(model=net, checkpoints=[net.state_dict()], learning_rates=[0.3])
    expected = estimator.influence()
    called = []

    def rule(call):
        called.append(1)
        return {"factor": call.input * call.output_grad}

    register_rule(Scale, rule)
    assert_close(estimator.influence(), expected)
    assert called


def test_a_parameter_that_is_gone_is_named():
    net = model()
    estimator = make(model=net)
    estimator.influence()
    net.fc10 = nn.Sequential(net.fc10)
    with pytest.raises(ModelError, match=r"'fc10\.weight' when the estimator was made.*fc10\.0"):
        estimator.influence()
