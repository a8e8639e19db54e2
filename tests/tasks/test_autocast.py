"""Scores in mixed precision, beside those in full precision and a gradient per example."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from headwater import TracInCP, TracInCPFast
from headwater.capture import layer_call
from headwater.errors import InputError, LossError
from headwater.tasks import Autocast, LossTask

N, Q = 120, 7
NETS = {
    "mlp": lambda: nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10)),
    "cnn": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 5, 3),
        nn.GroupNorm(1, 5),
        nn.ReLU(),
        nn.Conv2d(5, 6, 3, stride=2),
        nn.Flatten(),
        nn.Linear(24, 10),
    ),
    "transformer": lambda: nn.Sequential(
        nn.Unflatten(1, (8, 8)),
        nn.Linear(8, 12),
        nn.TransformerEncoderLayer(12, 2, 20, dropout=0.0, batch_first=True),
        nn.LayerNorm(12),
        nn.Flatten(),
        nn.Linear(96, 10),
    ),
}


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    images = torch.tensor(data.data, dtype=torch.float32) / 16
    return images, torch.tensor(data.target)


def trained(net, images, labels):
    """Two checkpoints of a short training, with their rates."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(0)
    kept = []
    for step in range(40):
        batch = torch.randint(len(images), (32,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(net(images[batch]), labels[batch]).backward()
        optimizer.step()
        if step in (5, 30):
            state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
            kept.append((state, 0.1 + step / 100))
    return kept


def gradients(net, images, labels):
    """Each example's gradient under autocast, by itself."""
    rows = []
    for image, label in zip(images, labels, strict=True):
        net.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(net(image[None]), label[None])
        loss.backward()
        rows.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    net.zero_grad()
    return torch.stack(rows)


def ranks(scores):
    return scores.argsort(dim=-1).argsort(dim=-1).double()


def spearman(one, other):
    return torch.corrcoef(torch.stack([ranks(one.flatten()), ranks(other.flatten())]))[0, 1]


@pytest.mark.parametrize("reduces", [True, False], ids=["by bfloat16", "by float32"])
@pytest.mark.parametrize("name", NETS)
def test_scores_are_those_of_a_gradient_per_example_under_autocast(
    name, reduces, digits, monkeypatch
):
    def multiplies_faster(dtype, device):
        return reduces and dtype == torch.bfloat16

    monkeypatch.setattr(layer_call, "multiplies_faster", multiplies_faster)
    torch.manual_seed(1)
    images, labels = digits
    net = NETS[name]().eval()
    checkpoints = trained(net, images[500:], labels[500:])
    queries = images[-Q:], labels[-Q:]
    task = Autocast(nn.CrossEntropyLoss(reduction="none"))
    data = TensorDataset(images[:N], labels[:N])
    estimator = TracInCP(net, data, checkpoints, task=task)
    scores, own = estimator.influence(queries), estimator.influence()
    assert scores.dtype == own.dtype == torch.float32
    expected = torch.zeros(Q, N)
    expected_own = torch.zeros(N)
    for state, rate in checkpoints:
        net.load_state_dict(state)
        train = gradients(net, images[:N], labels[:N])
        expected += rate * gradients(net, *queries) @ train.mT
        expected_own += rate * train.square().sum(dim=1)
    # Eight bits of a product; which of them are lost depends on how examples are batched.
    assert (scores - expected).norm() < 0.02 * expected.norm()
    assert (own - expected_own).norm() < 0.02 * expected_own.norm()
    exact = TracInCP(
        net, data, checkpoints, task=LossTask(F.cross_entropy, reduction="mean")
    ).influence(queries)
    assert (scores - exact).norm() > 1e-4 * exact.norm(), "nothing was computed in bfloat16"
    assert spearman(scores, exact) > 0.99


def test_the_last_layer_alone_and_the_strongest(digits):
    torch.manual_seed(2)
    images, labels = digits
    net = NETS["mlp"]().eval()
    checkpoints = trained(net, images[500:], labels[500:])
    data = TensorDataset(images[:N], labels[:N])
    task = Autocast(LossTask(nn.CrossEntropyLoss(reduction="none"), reduction="none"))
    queries = (images[-Q:], labels[-Q:])
    fast = TracInCPFast(net, net[2], data, checkpoints, task=task)
    whole = TracInCP(net, data, checkpoints, task=task, layers=["2"])
    scores = whole.influence(queries)
    assert (fast.influence(queries) - scores).norm() < 0.02 * scores.norm()
    top = whole.influence(queries, k=5)
    assert torch.equal(top.influence_scores, scores.gather(1, top.indices))


def test_nothing_of_autocast_stays_and_the_description_tells_of_it(digits):
    images, labels = digits
    net = NETS["mlp"]().eval()
    data = TensorDataset(images[:3], labels[:3])
    task = Autocast(nn.CrossEntropyLoss(reduction="none"))
    estimator = TracInCP(net, data, [(net.state_dict(), 0.3)], task=task)
    scores = estimator.attribute()
    assert not torch.is_autocast_enabled("cpu")
    assert torch.is_autocast_cache_enabled()
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())
    assert "under autocast to torch.bfloat16" in scores.meaning.estimator["loss"]


def test_what_it_does_not_take_is_refused_when_it_is_made():
    with pytest.raises(InputError, match=r"torch\.bfloat16 or torch\.float16"):
        Autocast(F.cross_entropy, torch.float32)
    with pytest.raises(InputError, match=r"expected a headwater\.Task"):
        Autocast("cross entropy")
    with pytest.raises(LossError, match="reduction"):
        Autocast(nn.CrossEntropyLoss())
