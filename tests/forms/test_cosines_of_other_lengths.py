"""Cosines of queries that come in batches of different numbers of steps."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from headwater import GradCos


class Steps(nn.Module):
    """As many steps as the longest of the batch has."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(5, 3), nn.Linear(3, 2)

    def forward(self, x, lengths):
        longest = int(lengths.max())
        there = torch.arange(longest) < lengths[:, None]
        found = self.layer(x[:, :longest]).tanh() * there[..., None]
        return self.head(found.sum(dim=1))


@pytest.mark.parametrize("lengths", [[6, 1, 6, 1], [1, 6, 2, 1], [6, 5, 1, 1]])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_they_are_a_loops(lengths, batch_size):
    torch.manual_seed(2)
    model = Steps().double().eval()
    x, y = torch.randn(4, 6, 5, dtype=torch.float64), torch.tensor([0, 1, 0, 1])
    lengths = torch.tensor(lengths)
    gradients = []
    for n in range(4):
        loss = cross_entropy(model(x[n : n + 1], lengths[n : n + 1]), y[n : n + 1])
        found = torch.autograd.grad(loss, list(model.parameters()))
        gradients.append(torch.cat([each.flatten() for each in found]))
    directions = nn.functional.normalize(torch.stack(gradients))
    estimator = GradCos(
        model,
        TensorDataset(x, lengths, y),
        [model.state_dict()],
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        batch_size=batch_size,
    )
    found = estimator.influence((x, lengths), y)
    torch.testing.assert_close(found, directions @ directions.T, rtol=1e-9, atol=1e-12)
