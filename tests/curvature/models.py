"""Small models whose blocks of curvature are known, and data for them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests.oracles.kronecker import Block, Diagonal, Linear


@dataclass
class Case:
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    blocks: list[Block]


def randn(*shape: int) -> Callable[[int], Tensor]:
    return lambda count: torch.randn(count, *shape).double()


def tokens(length: int, vocabulary: int) -> Callable[[int], Tensor]:
    return lambda count: torch.randint(vocabulary, (count, length))


class OverPositions(nn.Module):
    """A linear map at every position, of which the mean is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Linear(4, 5)
        self.norm = nn.LayerNorm(5)
        self.head = nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(torch.tanh(self.each(x))).mean(dim=1))


class Twice(nn.Module):
    """One layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.again(torch.tanh(self.again(x)))))


class Tied(nn.Module):
    """Two layers with one weight, and a bias each."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Embedded(nn.Module):
    """Looked-up rows, a word of which may come twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embedding(ids)).sum(dim=1))


class TiedTable(nn.Module):
    """An embedding whose table is the output head's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, 4)
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(self.embedding(ids))).mean(dim=1))


CASES = {
    "linear": Case(
        lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)),
        randn(5),
        [Linear("0.weight", "0.bias", ["0"]), Linear("2.weight", "2.bias", ["2"])],
    ),
    "linear without bias": Case(
        lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Linear(4, 3, bias=False)),
        randn(5),
        [Linear("0.weight", None, ["0"]), Linear("2.weight", None, ["2"])],
    ),
    "sequence": Case(
        OverPositions,
        randn(6, 4),
        [
            Linear("each.weight", "each.bias", ["each"]),
            Diagonal("norm.weight"),
            Diagonal("norm.bias"),
            Linear("head.weight", None, ["head"]),
        ],
    ),
    "convolution": Case(
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, (2, 3), stride=(2, 1), padding=(1, 0)),
            nn.Tanh(),
            nn.Conv2d(3, 4, 2, dilation=(1, 2), padding=1, padding_mode="circular", bias=False),
            nn.Tanh(),
            nn.Flatten(),
            nn.LazyLinear(3),
        ),
        randn(2, 5, 6),
        [
            Linear("0.weight", "0.bias", ["0"]),
            Linear("2.weight", None, ["2"]),
            Linear("5.weight", "5.bias", ["5"]),
        ],
    ),
    "grouped convolution": Case(
        lambda: nn.Sequential(
            nn.Conv2d(4, 6, 2, groups=2, bias=False),
            nn.ReLU(),
            nn.Flatten(),
            nn.LazyLinear(3),
        ),
        randn(4, 3, 4),
        [Linear("0.weight", None, ["0"], groups=2), Linear("3.weight", "3.bias", ["3"])],
    ),
    "called twice": Case(
        Twice,
        randn(4),
        [
            Linear("again.weight", "again.bias", ["again"]),
            Linear("head.weight", "head.bias", ["head"]),
        ],
    ),
    "tied": Case(
        Tied,
        randn(4),
        [
            Linear("first.weight", None, ["first", "second"]),
            Diagonal("first.bias"),
            Diagonal("second.bias"),
            Linear("head.weight", "head.bias", ["head"]),
        ],
    ),
    "embedding": Case(
        Embedded,
        tokens(5, 6),
        [Diagonal("embedding.weight"), Linear("head.weight", "head.bias", ["head"])],
    ),
    "tied table": Case(
        TiedTable,
        tokens(4, 3),
        [Diagonal("embedding.weight"), Linear("body.weight", "body.bias", ["body"])],
    ),
}

N, Q = 13, 3


@dataclass
class Made:
    """A case with numbers in it."""

    model: nn.Module
    dataset: TensorDataset
    queries: tuple[Any, Any]


def made(case: Case) -> Made:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = case.build().double()
        inputs, asked = case.inputs(N), case.inputs(Q)
        with torch.no_grad():
            model(inputs[:1])
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.4)
        labels, asked_labels = torch.randint(3, (N,)), torch.randint(3, (Q,))
    return Made(model, TensorDataset(inputs, labels), (asked, asked_labels))
