"""One small model and its data, for tests that aren't about architectures."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset, TensorDataset

from headwater import TracInCP
from tests.oracles import tracin

RATES = [0.3, 0.07]
N, Q = 7, 2


class Small(nn.Module):
    """Names of which one is the beginning of another, and a container."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 4)
        self.fc10 = nn.Linear(4, 6)
        self.body = nn.Sequential(nn.Tanh(), nn.Linear(6, 4), nn.Dropout(0.5))
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.body(self.fc10(torch.tanh(self.fc1(x))))))


def model(seed: int = 0, kind: type[nn.Module] = Small) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = kind()
        for p in built.parameters():
            with torch.no_grad():
                p.add_(torch.randn(p.shape), alpha=0.3)
    return built.double()


def states(kind: type[nn.Module] = Small) -> list[dict[str, Tensor]]:
    return [dict(model(seed, kind).state_dict()) for seed in (1, 2)]


def rows(count: int, seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=generator, dtype=torch.float64)


def labels(count: int, seed: int, classes: int = 3) -> Tensor:
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))


TRAINING = (rows(N, 10, 5), labels(N, 11))
QUERIES = (rows(Q, 20, 5), labels(Q, 21))


def dataset() -> TensorDataset:
    return TensorDataset(*TRAINING)


class Stream(IterableDataset):
    """The training examples one after another, without a length."""

    def __iter__(self):
        return iter(zip(*TRAINING, strict=True))


def cross_entropy(predictions: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(predictions, targets, reduction="none")


def make(kind: type[TracInCP] = TracInCP, **options: Any) -> TracInCP:
    """The estimator of these tests; `options` replace or add arguments."""
    arguments: dict[str, Any] = {
        "model": model(),
        "influence_src_dataset": dataset(),
        "checkpoints": states(),
        "loss_fn": cross_entropy,
        "batch_size": 3,
        "learning_rates": RATES,
    }
    arguments.update(options)
    return kind(**arguments)


def loss_of_one(module: nn.Module, example: tuple[Tensor, Tensor]) -> Tensor:
    x, y = example
    return cross_entropy(module(x), y).squeeze(0)


def singles(x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]


def expected_scores(
    names: list[str] | None = None,
    rates: list[float] = RATES,
    loss: tracin.Loss = loss_of_one,
    queries: list[tuple[Tensor, Tensor]] | None = None,
) -> Tensor:
    module = model()
    return tracin.influence_scores(
        module,
        list(zip(states(), rates, strict=True)),
        loss,
        singles(*TRAINING),
        queries or singles(*QUERIES),
        names or tracin.trainable_names(module),
    )


def expected_self_influence(names: list[str] | None = None) -> Tensor:
    module = model()
    return tracin.self_influence(
        module,
        list(zip(states(), RATES, strict=True)),
        loss_of_one,
        singles(*TRAINING),
        names or tracin.trainable_names(module),
    )


def assert_close(got: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10 * scale)
