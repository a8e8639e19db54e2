"""Predicted against true change of a query's loss when an example is removed from a run.

Usage: python -m benchmarks.unrolling [--examples 1000] [--queries 20] [--removals 40]
           [--json FILE] [--only NAME]

An MLP 64-32-10 on scikit-learn's digits, trained in several ways; random examples are removed one
at a time, and the run is taken again from the same start with the same batches. Correlations are
Pearson's over all queries and removals; the check of smoothness removes others.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from headwater import ExactUnrolling, HeadwaterWarning, TracInIdeal, TrainingRun
from headwater.estimators.unrolling.smoothness import correlation

Optimizer = Callable[[Any], torch.optim.Optimizer]


@dataclass(frozen=True)
class Setting:
    """A way of training.

    Attributes:
        activation: between the layers.
        optimizer: makes it of the parameters.
        batch: examples per update.
        epochs: passes over the data.
    """

    activation: type[nn.Module]
    optimizer: Optimizer
    batch: int = 50
    epochs: int = 10


def sgd(rate: float, **settings: float) -> Optimizer:
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **settings)


def adamw(rate: float, **settings: float) -> Optimizer:
    return lambda parameters: torch.optim.AdamW(parameters, lr=rate, **settings)


SETTINGS = {
    "GELU, SGD 0.1": Setting(nn.GELU, sgd(0.1)),
    "GELU, SGD 0.05, momentum 0.9, decay 1e-3": Setting(
        nn.GELU, sgd(0.05, momentum=0.9, weight_decay=1e-3)
    ),
    "GELU, AdamW 0.003, eps 1e-3": Setting(nn.GELU, adamw(0.003, eps=1e-3)),
    "GELU, AdamW 0.003, eps 1e-8": Setting(nn.GELU, adamw(0.003)),
    "ReLU, SGD 0.1": Setting(nn.ReLU, sgd(0.1)),
    "ReLU, SGD 0.05, momentum 0.9, decay 1e-3": Setting(
        nn.ReLU, sgd(0.05, momentum=0.9, weight_decay=1e-3)
    ),
    "ReLU, SGD 0.5, momentum 0.9": Setting(nn.ReLU, sgd(0.5, momentum=0.9)),
}


def trained(setting: Setting, examples: int) -> TrainingRun:
    images, labels = digits()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), setting.activation(), nn.Linear(32, 10))
    batches = [
        places.tolist()
        for _ in range(setting.epochs)
        for places in torch.randperm(examples).split(setting.batch)
    ]
    return TrainingRun.train(
        net,
        TensorDataset(images[:examples], labels[:examples]),
        setting.optimizer(net.parameters()),
        batches,
        nn.CrossEntropyLoss(),
    )


def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    images, labels = map(torch.as_tensor, load_digits(return_X_y=True))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    return images[order].float() / 16, labels[order]


def measured(setting: Setting, *, examples: int, queries: int, removals: int) -> dict[str, Any]:
    images, labels = digits()
    asked = images[-queries:], labels[-queries:]
    start = time.perf_counter()
    run = trained(setting, examples)
    training = time.perf_counter() - start
    estimator = ExactUnrolling(run, check=False)
    start = time.perf_counter()
    scores = estimator.influence(*asked)
    unrolling = time.perf_counter() - start
    smoothness = estimator.check(*asked)
    alike = {
        "TracInIdeal": TracInIdeal(run).influence(*asked),
        "TracInIdeal, at the end": TracInIdeal(run, query_gradients="end").influence(*asked),
    }
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(2)).tolist()
    removed = [n for n in order if n not in smoothness.removed.tolist()][:removals]
    before = run.losses(*asked)
    changes = []
    for n in removed:
        weights = torch.ones(examples)
        weights[n] = 0
        changes.append(run.losses(*asked, example_weights=weights) - before)
    true = torch.stack(changes, dim=1)
    assert isinstance(scores, Tensor)
    return {
        "updates": len(run),
        "loss": float(before.mean()),
        "correlation": correlation(scores[:, removed], true),
        "others": {name: correlation(found[:, removed], true) for name, found in alike.items()},  # type: ignore[index]
        "check": {
            "removals": smoothness.removal_correlation,
            "spread": smoothness.spread_correlation,
            "believable": smoothness.believable,
        },
        "passes of training": unrolling / training,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--examples", type=int, default=1000)
    arguments.add_argument("--queries", type=int, default=20)
    arguments.add_argument("--removals", type=int, default=40)
    arguments.add_argument("--only", choices=list(SETTINGS), default=None)
    arguments.add_argument("--json", type=Path, default=None)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", HeadwaterWarning)
    found = {}
    print(
        "| training | updates | exact | TracInIdeal | at the end | check: removals, spread | says |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, setting in SETTINGS.items():
        if options.only not in (None, name):
            continue
        one = found[name] = measured(
            setting,
            examples=options.examples,
            queries=options.queries,
            removals=options.removals,
        )
        along, end = one["others"].values()
        check = one["check"]
        print(
            f"| {name} | {one['updates']} | {one['correlation']:.3f} | {along:.2f} | {end:.2f} | "
            f"{check['removals']:.2f}, {check['spread']:.2f} | "
            f"{'believable' if check['believable'] else 'not'} |"
        )
        sys.stdout.flush()
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
