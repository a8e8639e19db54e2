"""What bfloat16 autocast does to scores: `tasks.Autocast` beside float32, on trained models.

The models are trained under autocast, as their users train them, on the data of
`benchmarks.settings`, and asked in both precisions at the same two checkpoints. The rank
correlation is that of each query's scores; differences are relative to the largest score.

Usage: python -m benchmarks.mixed_precision [--settings digits-cnn verses-transformer]
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from benchmarks.machine import header
from benchmarks.settings import SETTINGS, Setting, split
from benchmarks.tables import facts, table
from headwater import TracInCP
from headwater.evaluation.ranks import spearman
from headwater.tasks import Autocast

K = 10


def trained(setting: Setting, examples: tuple[Tensor, Tensor]) -> tuple[Any, list[Any]]:
    """The model and two of its checkpoints, half-way and at the end, with their rates."""
    recipe = setting.recipe
    torch.manual_seed(0)
    model = setting.build()
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[recipe.optimizer]
    rate = recipe.learning_rate
    optimizer = kind(model.parameters(), lr=rate, **recipe.settings)
    inputs, targets = examples
    kept = []
    for epoch in range(recipe.epochs):
        for batch in torch.randperm(len(inputs)).split(recipe.batch_size):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = setting.loss_fn(model(inputs[batch]), targets[batch]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch in (recipe.epochs // 2, recipe.epochs - 1):
            kept.append((copy.deepcopy(model.state_dict()), rate))
    return model.eval(), kept


def row(setting: Setting, examples: int, queries: int) -> list[str]:
    parts = split(setting)
    model, checkpoints = trained(setting, parts.training)
    data = TensorDataset(*(part[:examples] for part in parts.training))
    asked = tuple(part[:queries] for part in parts.queries)
    exact = TracInCP(model, data, checkpoints, loss_fn=setting.loss_fn)
    mixed = TracInCP(model, data, checkpoints, task=Autocast(setting.loss_fn))
    scores, own = exact.influence(*asked).double(), exact.influence().double()
    found, its_own = mixed.influence(asked).double(), mixed.influence().double()
    ranks = spearman(found, scores)
    apart = (found - scores).abs().max(dim=1).values / scores.abs().max(dim=1).values
    common = [
        len({*one.topk(K).indices.tolist()} & {*other.topk(K).indices.tolist()}) / K
        for one, other in zip(found, scores, strict=True)
    ]
    return [
        setting.name,
        f"{ranks.mean():.5f}, {ranks.min():.5f}",
        f"{apart.median():.1e}, {apart.max():.1e}",
        f"{sum(common) / len(common):.3f}",
        f"{spearman(its_own[None], own[None]).item():.5f}",
        f"{(its_own - own).abs().max() / own.abs().max():.1e}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--settings", nargs="+", default=["digits-cnn", "verses-transformer"])
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--queries", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = [
        "setting",
        "Spearman by query: mean, least",
        "difference by query: median, largest",
        f"of the top {K} common",
        "Spearman of self-influence",
        "largest difference of self-influence",
    ]
    rows = [row(SETTINGS[name], options.examples, options.queries) for name in options.settings]
    print(facts(header(1)), end="\n\n")
    print(table(head, rows))


if __name__ == "__main__":
    main()
