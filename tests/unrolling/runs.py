"""Small runs in float64, as headwater takes them and as an oracle does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from headwater import TrainingRun
from tests.estimators.small import QUERIES, TRAINING, Small, cross_entropy, model
from tests.oracles import unrolled

# Every example several times, a short batch, an example twice in one batch, one in none (6).
BATCHES = [[0, 1, 2], [3, 4, 5], [2], [5, 0, 4], [1, 1, 3], [4, 2, 0], [3, 5], [0, 1, 4]]


class Smooth(Small):
    """The small model without its dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Tanh(), nn.Linear(6, 4))


def smooth(seed: int = 0) -> nn.Module:
    return model(seed, Smooth)


def rates(net: nn.Module, rest: float, of_fc: float) -> dict[str, float]:
    return {n: of_fc if n.startswith("fc.") else rest for n, _ in net.named_parameters()}


def groups(net: nn.Module, of_fc: float) -> list[dict[str, Any]]:
    last = list(net.fc.parameters())
    return [
        {"params": [p for p in net.parameters() if not any(p is one for one in last)]},
        {"params": last, "lr": of_fc},
    ]


@dataclass(frozen=True)
class Case:
    """An optimizer: PyTorch's, and the oracle's."""

    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    update: Callable[[nn.Module], unrolled.Update]


def sgd(rest: float = 0.3, of_fc: float = 0.07, **settings: Any) -> Case:
    names = {"weight_decay": "decay"}
    return Case(
        lambda net: torch.optim.SGD(groups(net, of_fc), lr=rest, **settings),
        lambda net: unrolled.sgd(
            rates(net, rest, of_fc), **{names.get(k, k): v for k, v in settings.items()}
        ),
    )


def adam(
    kind: type[torch.optim.Optimizer], rest: float = 0.05, of_fc: float = 0.02, **settings: Any
) -> Case:
    names = {"weight_decay": "decay"}
    return Case(
        lambda net: kind(groups(net, of_fc), lr=rest, **settings),
        lambda net: unrolled.adam(
            rates(net, rest, of_fc),
            decoupled=kind is torch.optim.AdamW,
            **{names.get(k, k): v for k, v in settings.items()},
        ),
    )


CASES = {
    "plain": sgd(),
    "momentum": sgd(momentum=0.9),
    "momentum and decay": sgd(momentum=0.8, weight_decay=0.1),
    "dampening": sgd(momentum=0.8, dampening=0.3),
    "nesterov": sgd(momentum=0.9, weight_decay=0.05, nesterov=True),
    "AdamW": adam(torch.optim.AdamW, weight_decay=0.3),
    "Adam": adam(torch.optim.Adam, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-4),
    "amsgrad": adam(torch.optim.Adam, amsgrad=True, betas=(0.8, 0.7)),
}


def trained(
    case: Case,
    net: nn.Module | None = None,
    *,
    loss_fn: Any = None,
    batches: Any = BATCHES,
    data: tuple[Tensor, ...] = TRAINING,
    **options: Any,
) -> TrainingRun:
    net = smooth() if net is None else net
    loss_fn = nn.CrossEntropyLoss() if loss_fn is None else loss_fn
    return TrainingRun.train(
        net, TensorDataset(*data), case.optimizer(net), batches, loss_fn, **options
    )


def expected(case: Case, net: nn.Module | None = None, **options: Any) -> Tensor:
    net = smooth() if net is None else net
    return unrolled.effects(
        net, TRAINING, BATCHES, cross_entropy, case.update(net), QUERIES, **options
    )
