"""A small training that is recorded, and the same as a plain loop that keeps what it had."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headwater import CheckpointRecorder
from tests.estimators.small import TRAINING, cross_entropy, model

MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


def sgd(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.3)


def two_groups(net: nn.Module) -> torch.optim.Optimizer:
    """The last layer at another rate, and a weight and a bias of one layer apart."""
    last = list(net.fc.parameters())
    own = {id(p) for p in (*last, net.fc1.bias)}
    rest = [p for p in net.parameters() if id(p) not in own]
    return torch.optim.SGD(
        [{"params": rest}, {"params": last, "lr": 0.07}, {"params": [net.fc1.bias], "lr": 0.011}],
        lr=0.3,
    )


def falling(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """A schedule under which no two steps have the same rate."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + 0.1 * step))


@dataclass(frozen=True)
class Before:
    """What a plain loop had right before an update."""

    state: dict[str, Tensor]
    rates: list[float]
    loss: float


def batches(steps: int, *, first: int = 0) -> list[tuple[Tensor, Tensor]]:
    inputs, targets = TRAINING
    places = [[t % 7, (t + 3) % 7] for t in range(first, first + steps)]
    return [(inputs[place], targets[place]) for place in places]


def plain_loop(
    steps: int, *, optimizer_of: MakeOptimizer = sgd, net: nn.Module | None = None
) -> tuple[nn.Module, list[Before]]:
    net = model() if net is None else net
    net.train()
    optimizer = optimizer_of(net)
    schedule = falling(optimizer)
    history = []
    torch.manual_seed(5)  # of dropout
    for inputs, targets in batches(steps):
        optimizer.zero_grad()
        loss = cross_entropy(net(inputs), targets).mean()
        loss.backward()
        state = {key: value.clone() for key, value in net.state_dict().items()}
        rates = [group["lr"] for group in optimizer.param_groups]
        history.append(Before(state, rates, loss.item()))
        optimizer.step()
        schedule.step()
    return net, history


def recorded_loop(
    folder: Any,
    steps: int,
    *,
    optimizer_of: MakeOptimizer = sgd,
    net: nn.Module | None = None,
    noted: bool = True,
    **options: Any,
) -> nn.Module:
    """The same loop with a recorder; a schedule's step in the wrong place changes nothing."""
    net = model() if net is None else net
    net.train()
    optimizer = optimizer_of(net)
    schedule = falling(optimizer)
    torch.manual_seed(5)
    with CheckpointRecorder(folder, net, optimizer, **{"every": 1, **options}) as recorder:
        for inputs, targets in batches(steps):
            optimizer.zero_grad()
            loss = cross_entropy(net(inputs), targets).mean()
            loss.backward()
            if noted:
                recorder.note_loss(loss)
            optimizer.step()
            schedule.step()
    return net
