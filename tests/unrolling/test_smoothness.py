"""The check tells runs whose derivative predicts removals from those whose doesn't."""

import functools

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import ExactUnrolling, HeadwaterWarning, TrainingRun
from headwater.estimators.unrolling.smoothness import correlation

pytest.importorskip("sklearn")

N = 300


@functools.cache
def digits():
    from sklearn.datasets import load_digits

    images, labels = map(torch.as_tensor, load_digits(return_X_y=True))
    return images / 16, labels


def run_of(activation, rate, *, batch=50, epochs=6):
    images, labels = digits()
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(64, 16), activation(), nn.Linear(16, 10)).double()
    batches = [
        places.tolist()
        for _ in range(epochs)
        for places in torch.randperm(N, generator=generator).split(batch)
    ]
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=1e-3)
    return TrainingRun.train(
        net, TensorDataset(images[:N], labels[:N]), optimizer, batches, nn.CrossEntropyLoss()
    )


def queries():
    images, labels = digits()
    return images[1500:1508], labels[1500:1508]


def test_where_the_check_passes_removals_are_predicted():
    run = run_of(nn.GELU, 0.05)
    estimator = ExactUnrolling(run)
    scores = estimator.influence(*queries())
    assert estimator.smoothness.believable
    assert "can be believed" in str(estimator.smoothness)
    # Other examples than the check removed.
    removed = [n for n in range(7, 107, 10) if n not in estimator.smoothness.removed]
    before = run.losses(*queries())
    changes = []
    for n in removed:
        weights = torch.ones(N, dtype=torch.float64)
        weights[n] = 0
        changes.append(run.losses(*queries(), example_weights=weights) - before)
    assert correlation(scores[:, removed], torch.stack(changes, dim=1)) >= 0.95


def test_a_rough_run_is_not_to_be_believed():
    estimator = ExactUnrolling(run_of(nn.ReLU, 0.6, batch=16))
    with pytest.warns(HeadwaterWarning, match=r"not to be believed.*correlate by .*GELU"):
        estimator.influence(*queries())
    assert not estimator.smoothness.believable


def test_the_check_can_be_asked_for_and_left_out():
    estimator = ExactUnrolling(run_of(nn.Tanh, 0.05, epochs=2), check=False)
    estimator.influence(*queries(), k=3)
    assert estimator.smoothness is None
    found = estimator.check(*queries(), removals=3, directions=2, seed=5)
    assert estimator.smoothness is found
    assert found.true_removals.shape == (8, 3)
    assert found.true_spread.shape == (8, 2)
    again = estimator.check(*queries(), removals=3, directions=2, seed=5)
    assert torch.equal(found.true_spread, again.true_spread)


def test_nothing_that_changes_is_no_agreement():
    assert correlation(torch.zeros(3), torch.zeros(3)) == 0
    assert correlation(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 5.0, 9.0])) == (
        pytest.approx(1)
    )
