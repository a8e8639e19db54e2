"""Scores are the derivative through the whole run, by two independent ways."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from headwater import ExactUnrolling, InputError, LossError, NotReplayableError, Task, TrainingRun
from tests.estimators.small import QUERIES, TRAINING, N, assert_close, cross_entropy, rows
from tests.estimators.snapshot import differences, snapshot
from tests.oracles import unrolled

from .runs import BATCHES, CASES, adam, expected, rates, sgd, smooth, trained


def exact(run, **options):
    return ExactUnrolling(run, check=False, **options)


@pytest.mark.parametrize("name", CASES)
def test_scores_are_the_derivative_through_the_whole_run(name):
    scores = exact(trained(CASES[name])).influence(*QUERIES)
    assert_close(scores, expected(CASES[name]))
    assert scores.dtype == torch.float64
    # Example 6 was in no batch.
    assert not scores[:, 6].any()
    assert scores[:, :6].all()


def plain_run(case, example_weights):
    """The queries' losses after a loop of PyTorch's own optimizer."""
    net = smooth()
    optimizer = case.optimizer(net)
    for places in BATCHES:
        inputs, targets = (column[places] for column in TRAINING)
        optimizer.zero_grad()
        losses = cross_entropy(net(inputs), targets) * example_weights[places]
        (losses.sum() / len(places)).backward()
        optimizer.step()
    with torch.no_grad():
        return cross_entropy(net(QUERIES[0]), QUERIES[1])


@pytest.mark.parametrize("name", ["nesterov", "AdamW"])
def test_scores_are_what_finite_differences_of_a_plain_loop_give(name):
    case, distance = CASES[name], 1e-4
    scores = exact(trained(case)).influence(*QUERIES)
    for n in range(N):
        more, less = (torch.ones(N, dtype=torch.float64) for _ in range(2))
        more[n] += distance
        less[n] -= distance
        slope = (plain_run(case, more) - plain_run(case, less)) / (2 * distance)
        torch.testing.assert_close(scores[:, n], -slope, rtol=1e-5, atol=1e-8)


def test_losses_of_another_run_are_those_of_a_plain_loop():
    case = CASES["momentum and decay"]
    run = trained(case)
    weights = torch.tensor([1.0, 0.0, 1.0, 2.5, 1.0, 0.3, 1.0], dtype=torch.float64)
    assert_close(run.losses(*QUERIES, example_weights=weights), plain_run(case, weights))
    assert torch.equal(run.losses(*QUERIES), plain_run(case, torch.ones(N, dtype=torch.float64)))


def test_a_schedule_and_a_sum_of_losses():
    net = smooth()
    optimizer = sgd(0.1, 0.03, momentum=0.7).optimizer(net)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    run = TrainingRun.train(
        net,
        TensorDataset(*TRAINING),
        optimizer,
        BATCHES,
        nn.CrossEntropyLoss(reduction="sum"),
        scheduler=falling,
    )
    update = unrolled.sgd(rates(net, 0.1, 0.03), momentum=0.7, schedule=lambda step: 1 / (1 + step))
    arguments = (TRAINING, BATCHES, cross_entropy, update, QUERIES)
    assert_close(exact(run).influence(*QUERIES), unrolled.effects(smooth(), *arguments, mean=False))


@pytest.mark.parametrize(
    ("loss_fn", "options"),
    [
        (nn.functional.cross_entropy, {}),
        (nn.CrossEntropyLoss(reduction="none"), {}),
        (cross_entropy, {"reduction": "mean"}),
    ],
)
def test_the_loss_may_be_given_in_any_of_its_forms(loss_fn, options):
    case = CASES["momentum"]
    run = trained(case, loss_fn=loss_fn, **options)
    assert_close(exact(run).influence(*QUERIES), expected(case))


def test_scores_do_not_depend_on_how_many_queries_are_gone_back_with_at_once():
    run = trained(CASES["AdamW"])
    whole = exact(run).influence(*QUERIES)
    assert_close(exact(run, memory_budget=1).influence(*QUERIES), whole)


def test_maximizing_the_negative_loss_is_the_same_run():
    def negative(predictions, targets):
        return -cross_entropy(predictions, targets)

    for case, up in (
        (sgd(momentum=0.9, weight_decay=0.1), sgd(momentum=0.9, weight_decay=0.1, maximize=True)),
        (adam(torch.optim.AdamW, eps=1e-4), adam(torch.optim.AdamW, eps=1e-4, maximize=True)),
    ):
        scores = exact(trained(up, loss_fn=negative)).influence(*QUERIES)
        assert_close(scores, -exact(trained(case)).influence(*QUERIES))


def test_self_influence_is_each_examples_effect_on_its_own_loss():
    run = trained(CASES["momentum"])
    estimator = exact(run)
    assert_close(estimator.influence(), estimator.influence(*TRAINING).diagonal())
    assert_close(exact(run, memory_budget=1).influence(), estimator.influence())


def test_top_k_are_the_strongest_of_all_scores():
    estimator = exact(trained(CASES["plain"]))
    scores = estimator.influence(*QUERIES)
    top = estimator.influence(*QUERIES, k=3)
    bottom = estimator.influence(*QUERIES, k=3, proponents=False)
    assert torch.equal(top.influence_scores, scores.sort(dim=1, descending=True).values[:, :3])
    assert torch.equal(bottom.indices, scores.sort(dim=1).indices[:, :3])


def test_without_targets_the_output_is_differentiated():
    net = nn.Linear(5, 1).double()
    data = (TRAINING[0], TRAINING[1].double()[:, None])
    run = trained_line(net, data)
    scores = exact(run).influence(QUERIES[0])
    ones = torch.ones(N, dtype=torch.float64, requires_grad=True)
    update = unrolled.sgd(dict.fromkeys(("weight", "bias"), 0.1))
    start = nn.Linear(5, 1).double()
    start.load_state_dict(run._state)
    ends = unrolled.end_of_run(start, data, BATCHES, squared_error, update, ones)
    outputs = QUERIES[0] @ ends["weight"].T + ends["bias"]
    found = [torch.autograd.grad(o, ones, retain_graph=True)[0] for o in outputs[:, 0]]
    assert_close(scores, -torch.stack(found))


def squared_error(predictions, targets):
    return (predictions - targets).square().sum(dim=1)


def trained_line(net, data):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    return TrainingRun.train(net, TensorDataset(*data), optimizer, BATCHES, squared_error)


@pytest.mark.parametrize("name", ["momentum", "AdamW"])
def test_clipped_gradients_are_differentiated_through_the_clipping(name):
    run = trained(CASES[name], max_grad_norm=0.8)
    scores = exact(run).influence(*QUERIES)
    clipped = expected(CASES[name], max_norm=0.8)
    assert_close(scores, clipped)
    assert (clipped - expected(CASES[name])).abs().max() > 1e-3


class FromDict(Task):
    def losses(self, model, batch):
        return cross_entropy(model(batch["x"]), batch["y"])

    def size(self, batch):
        return len(batch["y"])


def test_a_task_reads_batches_of_its_own_kind():
    case, net = CASES["momentum"], smooth()
    data = [{"x": x, "y": y} for x, y in zip(*TRAINING, strict=True)]
    run = TrainingRun.train(net, data, case.optimizer(net), BATCHES, task=FromDict())
    estimator = exact(run)
    scores = estimator.influence({"x": QUERIES[0], "y": QUERIES[1]})
    assert_close(scores, expected(case))
    asked = [{"x": x, "y": y} for x, y in zip(*QUERIES, strict=True)]
    assert torch.equal(estimator.influence(asked), scores)
    with pytest.raises(InputError, match="targets is given beside a task"):
        estimator.influence(asked, QUERIES[1])


class Attending(nn.Module):
    """Attention by the fused function, a tied weight, a frozen one, and one that is never used."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(1, 4)
        self.query, self.key = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.key.weight = self.query.weight
        self.norm = nn.LayerNorm(4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Linear(2, 2)
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        h = self.embed(x[:, :, None])
        h = h + nn.functional.scaled_dot_product_attention(self.query(h), self.key(h), h)
        return self.out(self.frozen(self.norm(h)).mean(dim=1))


def test_attention_and_tied_frozen_and_unused_weights():
    def made():
        torch.manual_seed(3)
        return Attending().double()

    net = made()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02, weight_decay=0.2, eps=1e-3)
    run = TrainingRun.train(
        net, TensorDataset(*TRAINING), optimizer, BATCHES, nn.CrossEntropyLoss()
    )
    scores = exact(run).influence(*QUERIES)
    distance = 1e-4
    for n in range(3):
        step = torch.zeros(N, dtype=torch.float64)
        step[n] = distance
        more, less = (run.losses(*QUERIES, example_weights=1 + s) for s in (step, -step))
        torch.testing.assert_close(
            scores[:, n], (less - more) / (2 * distance), rtol=1e-5, atol=1e-9
        )


def test_recurrent_layers_and_dropout():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(1, 4, num_layers=2, dropout=0.3, batch_first=True)
            self.drop = nn.Dropout(0.4)
            self.out = nn.Linear(4, 3)

        def forward(self, x):
            return self.out(self.drop(self.lstm(x[:, :, None])[0][:, -1]))

    torch.manual_seed(3)
    net = Reader().double()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.8)
    run = TrainingRun.train(
        net, TensorDataset(*TRAINING), optimizer, BATCHES, nn.CrossEntropyLoss()
    )
    assert run.verify() == 0
    scores = exact(run).influence(*QUERIES)
    step = torch.zeros(N, dtype=torch.float64)
    step[4] = 1e-4
    more, less = (run.losses(*QUERIES, example_weights=1 + s) for s in (step, -step))
    torch.testing.assert_close(scores[:, 4], (less - more) / 2e-4, rtol=1e-5, atol=1e-9)


def test_units_without_gradients_have_no_infinite_derivative():
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        net[0].bias[0] = -100.0
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    run = TrainingRun.train(
        net, TensorDataset(*TRAINING), optimizer, BATCHES, nn.CrossEntropyLoss()
    )
    assert torch.isfinite(exact(run).influence(*QUERIES)).all()


def test_the_model_is_borrowed():
    run = trained(CASES["momentum"])
    net = run.model
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    before = snapshot(net)
    estimator = exact(run)
    estimator.influence(*QUERIES)
    run.losses(*QUERIES, example_weights=torch.zeros(N, dtype=torch.float64))
    assert not differences(before, snapshot(net))


def test_a_run_that_is_trained_further_is_still_the_run_that_it_was():
    run = trained(CASES["plain"])
    first = exact(run).influence(*QUERIES)
    with torch.no_grad():
        for p in run.model.parameters():
            p.mul_(2)
    run.model.requires_grad_(False).eval()
    assert torch.equal(exact(run).influence(*QUERIES), first)


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda run: ExactUnrolling(run.model), InputError, "expected a TrainingRun"),
        (lambda run: exact(run).influence(*QUERIES, k=-1), InputError, "k is -1"),
        (lambda run: exact(run).influence(k=2), InputError, "k is given without inputs"),
        (lambda run: exact(run).influence(QUERIES), InputError, r"2 parts.*\(inputs, targets\)"),
        (
            lambda run: exact(run).influence(QUERIES[0].numpy(), QUERIES[1].numpy()),
            InputError,
            "inputs is a numpy array",
        ),
        (lambda run: exact(run).influence(rows(0, 1, 5), TRAINING[1][:0]), InputError, "0 queries"),
        (
            lambda run: run.losses(*QUERIES, example_weights=torch.ones(3)),
            InputError,
            r"shape \(3,\); expected one number per training example, \(7,\)",
        ),
        (lambda run: exact(run).check(*QUERIES, removals=1), InputError, "removals is 1"),
    ],
)
def test_odd_arguments_are_refused(use, error, message):
    run = trained(CASES["plain"])
    with pytest.raises(error, match=message):
        use(run)


def test_runs_that_cannot_be_differentiated_are_refused_with_the_reason():
    net = smooth()
    data = TensorDataset(*TRAINING)
    by_others = TrainingRun.train(
        net, data, torch.optim.RMSprop(net.parameters(), lr=0.01), BATCHES, nn.CrossEntropyLoss()
    )
    assert by_others.verify() == 0
    with pytest.raises(NotReplayableError, match=r"trained by RMSprop.*SGD, Adam, AdamW"):
        exact(by_others)
    counting = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    optimizer = torch.optim.SGD(counting.parameters(), lr=0.1)
    run = TrainingRun.train(counting, data, optimizer, [[0, 1, 2]], nn.CrossEntropyLoss())
    with pytest.raises(NotReplayableError, match=r"buffer '1\.running_mean'.*GroupNorm"):
        exact(run).influence(*QUERIES)


def test_a_mean_that_is_no_plain_one_is_refused():
    weights = torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64)
    run = trained(CASES["plain"], loss_fn=nn.CrossEntropyLoss(weight=weights))
    assert run.verify() == 0
    with pytest.raises(LossError, match="weighted by class, or leaves targets out"):
        exact(run).influence(*QUERIES)
    summed = trained(CASES["plain"], loss_fn=lambda p, t: cross_entropy(p, t).sum())
    with pytest.raises(LossError, match="plain mean"):
        exact(summed).influence(*QUERIES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": DataLoader(TensorDataset(*TRAINING))}, "dataset is a DataLoader"),
        ({"dataset": iter([])}, "expected a Dataset with a length"),
        ({"batches": [[0, 9]]}, "trained on example 9, and the dataset has 7"),
        ({"batches": [[]]}, "at least one"),
        ({"batches": [[True, False]]}, "whole numbers from 0 on"),
        ({"batches": []}, "has no update"),
        ({"loss_fn": None}, "either loss_fn, or a task"),
        ({"reduction": "max"}, "reduction is 'max'"),
        ({"reduction": "sum"}, "contradicts reduction='sum'"),
        ({"model": None}, "model is a NoneType"),
    ],
)
def test_odd_runs_are_refused(options, message):
    net = smooth()
    arguments = {
        "model": net,
        "dataset": TensorDataset(*TRAINING),
        "optimizer": torch.optim.SGD(net.parameters(), lr=0.1),
        "batches": BATCHES,
        "loss_fn": nn.CrossEntropyLoss(),
        **options,
    }
    with pytest.raises(ValueError, match=message):
        TrainingRun.train(**arguments)
