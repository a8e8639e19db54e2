"""What `headwater check` finds of models that are sharded over ranks; run by file, as `sharded`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from headwater import TracInCP
from headwater.check import exactness, layers_of
from headwater.cli.predictions import predictions
from tests.distributed import sharded
from tests.distributed.as_rank import as_rank

CASES = ("mlp", "replicated too", "odd", "some layers", "recomputed")
# Where all fits, where some layers do, and where not even each of them does.
BUDGETS = {"mlp": ("1GB", 1500, 300), "some layers": ("1GB", 9000)}


def found_of(model: nn.Module, case: sharded.Case, budgets: Any) -> dict[str, Any]:
    tracin = TracInCP(model, case.data, sharded.checkpoints(case), **case.options)
    inputs, targets = case.queries
    alone = [tracin._question(inputs[i : i + 1], targets[i : i + 1]).batch for i in range(2)]
    few = tracin._question(inputs[:2], targets[:2])
    exact = exactness(tracin, [0, 4, 10], few, alone)
    small = [
        TracInCP(
            model, case.data, sharded.checkpoints(case), **{**case.options, "memory_budget": budget}
        )
        for budget in budgets
    ]
    plans = [one._streamed.plan(one._question(*case.queries)) for one in small]
    layers = layers_of(tracin, [0, 3, 7])
    found = {
        "difference": exact.difference,
        "exact": (exact.exact, exact.examples, exact.queries, exact.checkpoints),
        "layers": [(one.name, one.kind, one.numbers) for one in layers.layers],
        "bytes": layers.stored_bytes,
        "divided": [(plan.passes, plan.divided, plan.rows_at_once) for plan in plans],
    }
    if len(small) > 2:
        costs = predictions(tracin, few, len(case.data))
        found["costs"] = [(one.command, one.cost.measured_on, one.result) for one in costs]
    if small:
        found["scores"] = small[-1].influence(*case.queries)
    return found


def wrong(model: nn.Module, case: sharded.Case) -> bool:
    """Whether a check would find scores exact that are not."""
    tracin = TracInCP(model, case.data, sharded.checkpoints(case), **case.options)
    inputs, targets = case.queries
    other = tracin._question(inputs[1:2], targets[1:2]).batch
    few = tracin._question(inputs[:1], targets[:1])
    return exactness(tracin, [0, 4, 10], few, [other]).exact


def findings() -> dict[str, Any]:
    cases = sharded.cases()
    found: dict[str, Any] = {}
    for name in CASES:
        model = sharded.whole_model(cases[name])
        if dist.is_initialized():
            cases[name].shard(model)
        before = sharded._state(model)
        found[name] = found_of(model, cases[name], BUDGETS.get(name, ()))
        left = sharded._state(model)
        assert [a for a, b in zip(before, left, strict=True) if not sharded._same(a, b)] == [], name
    model = sharded.whole_model(cases["mlp"])
    if dist.is_initialized():
        cases["mlp"].shard(model)
    found["wrong"] = wrong(model, cases["mlp"])
    return found


def main() -> None:
    def do(job: str, folder: Path) -> Any:
        torch.manual_seed(0)
        return findings()

    as_rank(do, leaves=lambda job: True)


if __name__ == "__main__":
    main()
