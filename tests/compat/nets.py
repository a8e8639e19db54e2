"""Small models, each with its training examples and queries, for both libraries and the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from tests.oracles import tracin

RATES = (0.3, 0.07)
N, Q, CLASSES = 7, 2, 3


class Mlp(nn.Sequential):
    """`bias` is the final layer's."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, CLASSES, bias=bias))


class WithoutBias(Mlp):
    def __init__(self) -> None:
        super().__init__(bias=False)


class Squashed(nn.Module):
    """Something follows on the final layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(5, 4)
        self.head = nn.Linear(4, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.head(torch.tanh(self.body(x))))


class Dropping(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(5, 4), nn.Dropout(0.5), nn.Linear(4, CLASSES))


class Normed(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, CLASSES))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Cnn(nn.Module):
    def __init__(self, **convolution: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, **convolution)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.conv(x)).mean(dim=(2, 3)))


class Circular(Cnn):
    def __init__(self) -> None:
        super().__init__(padding=1, padding_mode="circular")


class Words(nn.Module):
    """The mean of embeddings, and a final layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4, padding_idx=0)
        self.head = nn.Linear(4, CLASSES, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens).mean(dim=1))


class PooledWords(Words):
    """The final layer is applied per token."""

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens)).mean(dim=1)


class Lines(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.conv(x)).mean(dim=2))


class Partly(nn.Module):
    """Has a layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


def features(kind: type[nn.Module]) -> tuple[int, ...]:
    """The shape of an example."""
    shapes: dict[type[nn.Module], tuple[int, ...]] = {Cnn: (2, 5, 5), Lines: (2, 6), Words: (6,)}
    return next((shapes[base] for base in shapes if issubclass(kind, base)), (5,))


def net(kind: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind().double()


def states(kind: Callable[[], nn.Module]) -> list[tuple[dict[str, Tensor], float]]:
    return [(dict(net(kind, 1 + i).state_dict()), rate) for i, rate in enumerate(RATES)]


def load(model: nn.Module, checkpoint: tuple[dict[str, Tensor], float]) -> float:
    model.load_state_dict(checkpoint[0])
    return checkpoint[1]


def rows(kind: type[nn.Module], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features and labels."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, *features(kind))
    labels = torch.randint(CLASSES, (count,), generator=generator)
    if issubclass(kind, Words):
        return torch.randint(1, 9, shape, generator=generator), labels
    return torch.randn(shape, generator=generator, dtype=torch.float64), labels


@dataclass(frozen=True)
class Case:
    """A kind of model with its data."""

    kind: type[nn.Module]

    @property
    def training(self) -> TensorDataset:
        return TensorDataset(*rows(self.kind, N, 10))

    @property
    def queries(self) -> tuple[Tensor, Tensor]:
        return rows(self.kind, Q, 20)

    def tracin(self, library: Any, **options: Any) -> Any:
        """The library's TracInCP; `options` replace or add arguments."""
        return library.TracInCP(**self.arguments("TracInCP", **options))

    def fast(self, library: Any, **options: Any) -> Any:
        return library.TracInCPFast(**self.arguments("TracInCPFast", **options))

    def rand_proj(self, library: Any, **options: Any) -> Any:
        return library.TracInCPFastRandProj(**self.arguments("TracInCPFastRandProj", **options))

    def arguments(self, name: str, **options: Any) -> dict[str, Any]:
        """The arguments of the class of that name."""
        given: dict[str, Any] = {
            "model": net(self.kind).eval(),
            "train_dataset": self.training,
            "checkpoints": states(self.kind),
            "checkpoints_load_func": load,
            "batch_size": 3,
            "loss_fn": nn.CrossEntropyLoss(reduction="none" if name == "TracInCP" else "sum"),
        }
        if name != "TracInCP":
            given["final_fc_layer"] = "2" if issubclass(self.kind, Mlp) else "head"
        if name == "TracInCPFastRandProj":
            given["nearest_neighbors"] = Searched()
        return {**given, **options}

    def oracle(
        self,
        names: Sequence[str] | None = None,
        *,
        loss: tracin.Loss | None = None,
        query_loss: tracin.Loss | None = None,
        rates: Sequence[float] = RATES,
    ) -> Tensor:
        """All scores, `[Q, N]`, of plain autograd."""
        module = net(self.kind)
        checkpoints = [(state, r) for (state, _), r in zip(states(self.kind), rates, strict=True)]
        return tracin.influence_scores(
            module,
            checkpoints,
            loss or loss_of_one,
            singles(*self.training.tensors),
            singles(*self.queries),
            names or tracin.trainable_names(module),
            query_loss,
        )

    def oracle_of_self(self, names: Sequence[str] | None = None) -> Tensor:
        module = net(self.kind)
        return tracin.self_influence(
            module,
            states(self.kind),
            loss_of_one,
            singles(*self.training.tensors),
            names or tracin.trainable_names(module),
        )


class Searched:
    """An exact search, as a user of Captum would write it."""

    def setup(self, data: Tensor) -> None:
        self.data = data

    def get_nearest_neighbors(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        scores, indices = torch.topk(query @ self.data.T, k, dim=1)
        return indices, scores


def loss_of_one(module: nn.Module, example: tuple[Tensor, Tensor]) -> Tensor:
    features, label = example
    return cross_entropy(module(features), label)


def singles(features: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(features[i : i + 1], labels[i : i + 1]) for i in range(len(features))]


def first_logit(outputs: Tensor, labels: Tensor) -> Tensor:
    """A measurement that isn't the loss."""
    return outputs[:, 0]


def first_logit_of_one(module: nn.Module, example: tuple[Tensor, Tensor]) -> Tensor:
    return module(example[0])[:, 0]


def assert_close(got: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * scale)


def assert_far(got: Tensor, expected: Tensor) -> None:
    """The numbers have the shape, and are others by more than a percent of the largest."""
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) > 0.01 * float(expected.abs().max())
