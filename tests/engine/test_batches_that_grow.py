"""Batches that grow: what is right for one example is looked at again where there are more."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from headwater import TracInCP

N, T, RATE = 9, 6, 0.3


class StepsFirst(nn.Module):
    """Its first layer meets steps before examples, which is no other order for a single one."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        weights = torch.linspace(-1, 1, T, dtype=x.dtype)[:, None, None]
        return self.head((torch.tanh(self.inner(x.transpose(0, 1))) * weights).sum(dim=0))


def test_a_larger_batch_is_held_against_autograd_whenever_it_comes():
    torch.manual_seed(0)
    model, loss_fn = StepsFirst().double(), nn.CrossEntropyLoss(reduction="none")
    data = TensorDataset(torch.randn(N, T, 3).double(), torch.randint(0, 2, (N,)))
    # The third isn't among those that are looked at by their number; T is a multiple of its size.
    loader = DataLoader(data, batch_sampler=[[0], [1], [2, 3, 4], [5], [6, 7], [8]])
    expected = []
    for index in range(N):
        x, y = data[index : index + 1]
        grads = torch.autograd.grad(loss_fn(model(x), y)[0], list(model.parameters()))
        expected.append(RATE * sum(grad.square().sum() for grad in grads))
    found = TracInCP(model, loader, [(model.state_dict(), RATE)], loss_fn=loss_fn).influence()
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-10, atol=1e-12)
