"""Models, checkpoints and data in bfloat16: what is captured is added up in float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import TracInCP
from headwater.capture import layer_call

N, Q = 11, 4
RATES = (0.3, 0.07, 0.11)
NETS = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(75, 24), nn.ReLU(), nn.Linear(24, 5)),
    "cnn": lambda: nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 5)),
    "shared, by position": lambda: Twice(),
}


class Twice(nn.Module):
    """One layer at several positions, twice, and another one on all of them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(15, 15)
        self.last = nn.Linear(75, 5)

    def forward(self, x):
        hidden = torch.tanh(self.first(torch.tanh(self.first(x.flatten(1).unflatten(1, (5, 15))))))
        return self.last(hidden.flatten(1))


def cross_entropy(predictions, targets):
    return nn.functional.cross_entropy(predictions.float(), targets, reduction="none")


def examples(count, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 5, 5, generator=generator).bfloat16()
    return images, torch.randint(5, (count,), generator=generator)


def states(net):
    """Checkpoints that are far apart, in bfloat16."""
    generator = torch.Generator().manual_seed(5)
    return [
        {
            name: (0.3 * torch.randn(tensor.shape, generator=generator)).bfloat16()
            for name, tensor in net.state_dict().items()
        }
        for _ in RATES
    ]


def gradients(net, images, labels):
    rows = []
    for image, label in zip(images, labels, strict=True):
        loss = cross_entropy(net(image[None]), label[None]).sum()
        found = torch.autograd.grad(loss, list(net.parameters()))
        rows.append(torch.cat([gradient.flatten().float() for gradient in found]))
    return torch.stack(rows)


@pytest.fixture(params=[True, False], ids=["by bfloat16", "by float32"])
def reduces(request, monkeypatch):
    """Whether gradients are written out in bfloat16, as on machines that multiply in it faster."""

    def multiplies_faster(dtype, device):
        return request.param and dtype == torch.bfloat16

    monkeypatch.setattr(layer_call, "multiplies_faster", multiplies_faster)
    return request.param


@pytest.fixture(params=NETS)
def net(request, reduces):
    torch.manual_seed(0)
    return NETS[request.param]().bfloat16().eval()


def test_scores_are_those_of_a_gradient_per_example(net):
    data, queries = examples(N, 1), examples(Q, 2)
    checkpoints = list(zip(states(net), RATES, strict=True))
    estimator = TracInCP(
        net, TensorDataset(*data), checkpoints, loss_fn=cross_entropy, batch_size=3
    )
    scores, own = estimator.influence(*queries), estimator.influence()
    expected, expected_own = torch.zeros(Q, N), torch.zeros(N)
    for state, rate in checkpoints:
        net.load_state_dict(state)
        train = gradients(net, *data)
        expected += rate * gradients(net, *queries) @ train.mT
        expected_own += rate * train.square().sum(dim=1)
    assert scores.dtype == own.dtype == torch.float32
    # Eight bits of a product; which of them are lost depends on how examples are batched.
    assert (scores - expected).norm() < 0.02 * expected.norm()
    assert (own - expected_own).norm() < 0.02 * expected_own.norm()


def test_what_checkpoints_share_is_what_each_has_alone(net):
    """Inputs in float32, and their products, are made once for all checkpoints."""
    data, queries = TensorDataset(*examples(N, 1)), examples(Q, 2)
    checkpoints = list(zip(states(net), RATES, strict=True))

    def scores(chosen):
        return TracInCP(net, data, chosen, loss_fn=cross_entropy, batch_size=3).influence(*queries)

    apart = sum(scores([checkpoint]).double() for checkpoint in checkpoints)
    together = scores(checkpoints).double()
    assert (together - apart).abs().max() < 1e-6 * apart.abs().max()


@pytest.mark.parametrize("reduces", [False], indirect=True)
def test_inputs_are_converted_once_for_all_checkpoints(net, monkeypatch):
    data, queries = TensorDataset(*examples(N, 1)), examples(Q, 2)
    checkpoints = list(zip(states(net), RATES, strict=True))
    estimator = TracInCP(net, data, checkpoints, loss_fn=cross_entropy, batch_size=N)
    estimator.influence(*queries)
    images, converted = data.tensors[0].float().flatten(), []
    to = torch.Tensor.to

    def noted(tensor, *args, **kwargs):
        found = to(tensor, *args, **kwargs)
        if found.dtype == torch.float32 and torch.equal(found.flatten(), images):
            converted.append(found)
        return found

    monkeypatch.setattr(torch.Tensor, "to", noted)
    estimator.influence(*queries)
    assert len({tensor.data_ptr() for tensor in converted}) == 1
