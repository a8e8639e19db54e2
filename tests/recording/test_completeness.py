"""TracIn in its ideal form: over every update, the scores add up to what the loss fell by."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import CheckpointRecorder, CheckpointSeries, TracInCP

STEPS = 5


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
        for example in inputs:
            optimizer.zero_grad()
            net(example).squeeze().backward()
            optimizer.step()
            if not momentum:
                optimizer.param_groups[0]["lr"] *= 0.7
    # After the examples come updates without a gradient, in which momentum runs out.
    for _ in range(100):
        optimizer.zero_grad(set_to_none=False)
        optimizer.step()
    series = CheckpointSeries.open(tmp_path / "run", rates=rates)
    total = torch.zeros(3, dtype=torch.float64)
    for t, checkpoint in enumerate(series):
        data = TensorDataset(inputs[t : t + 1], torch.zeros(1))
        tracin = TracInCP(net, data, [checkpoint], batch_size=1)
        total += tracin.influence(queries)[:, 0]
    torch.testing.assert_close(total, (before - net(queries).detach())[:, 0])
