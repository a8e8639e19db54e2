"""TracIn in its ideal form: over every update, the scores add up to what the loss fell by."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import CheckpointRecorder, CheckpointSeries, TracInCP

STEPS = 12


@pytest.mark.parametrize("rates", ["recorded", "effective"])
def test_scores_of_what_was_trained_on_add_up_to_the_fall_of_the_output(tmp_path, rates):
    """Of a linear model's output exactly, for its gradient is the same at all weights."""
    torch.manual_seed(0)
    net = nn.Linear(5, 1).double()
    inputs = torch.randn(STEPS, 5, dtype=torch.float64)
    queries = torch.randn(3, 5, dtype=torch.float64)
    momentum = 0.6 if rates == "effective" else 0.0
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3, momentum=momentum)
    before = net(queries).detach()
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1):
        # After the examples come updates without a gradient, in which momentum runs out.
        for t in range(STEPS + (200 if momentum else 0)):
            optimizer.zero_grad()
            example = inputs[t] if t < STEPS else torch.zeros_like(inputs[0])
            loss = net(example).squeeze() - (net.bias.squeeze() if t >= STEPS else 0)
            loss.backward()
            optimizer.step()
            if not momentum:
                optimizer.param_groups[0]["lr"] *= 0.7
    series = CheckpointSeries.open(tmp_path / "run", rates=rates)[:STEPS]
    total = torch.zeros(3, dtype=torch.float64)
    for t, checkpoint in enumerate(series):
        tracin = TracInCP(net, TensorDataset(inputs[t : t + 1]), [checkpoint], batch_size=1)
        total += tracin.influence(queries)[:, 0]
    torch.testing.assert_close(total, (before - net(queries).detach())[:, 0])
