"""Estimators other than TracIn of models that are sharded over ranks; run by file, as `sharded`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, TensorDataset

from headwater import EKFAC, KFAC, LESS, TRAK, GradientStore, InfluenceFunction, LoGra
from tests.distributed import jobs, sharded, store_jobs
from tests.distributed.as_rank import as_rank
from tests.distributed.methods import Wandering, _wide, record
from tests.distributed.sharded_stores import dealt

LOSS = nn.CrossEntropyLoss(reduction="none")
UNEVEN = [[0], [1, 2, 3, 4], [5, 6], *([i, i + 1, i + 2] for i in range(7, 25, 3)), [25]]


def _misfit() -> tuple[nn.Module, TensorDataset]:
    """A layer that is used in another way, for an example of the last rank's batch."""
    inputs, targets = _wide(jobs.rows()).tensors
    inputs[4, 0] = 100
    torch.manual_seed(4)
    model = store_jobs.Misfit().double()
    if dist.is_initialized():
        fully_shard(model)
    return model, TensorDataset(inputs, targets)


def estimators(folder: Path) -> dict[str, Any]:
    """By name; the curvatures are fitted by all ranks, and each has the vectors by itself."""
    data, model = _wide(jobs.rows()), dealt(Wandering().double())
    net = dealt(jobs.net())
    states = [state for state, _ in jobs.checkpoints()]
    odd, its_data = _misfit()
    return {
        "EK-FAC": InfluenceFunction(model, data, LOSS, batch_size=3),
        "K-FAC": InfluenceFunction(
            model, data, LOSS, curvature=KFAC(seed=3, draws=2), batch_size=2
        ),
        "uneven": InfluenceFunction(model, DataLoader(data, batch_sampler=UNEVEN), LOSS),
        "captured twice": InfluenceFunction(model, data, LOSS, batch_size=3, memory_budget=2000),
        "more ranks than batches": InfluenceFunction(model, data, LOSS, batch_size=20),
        "rule that doesn't fit": InfluenceFunction(odd, its_data, LOSS, batch_size=3),
        "file": InfluenceFunction(
            model, data, LOSS, curvature=EKFAC(factors=folder / "factors"), batch_size=3
        ),
        "TRAK": TRAK(net, jobs.rows(), states, dim=16, batch_size=3),
        "LoGra": LoGra(net, jobs.rows(), states, dim=3, loss_fn=LOSS, batch_size=3),
        "kept by none": LoGra(
            net, jobs.rows(), states, dim=3, loss_fn=LOSS, batch_size=3, memory_budget=100
        ),
        "LESS": LESS(net, jobs.rows(), folder / "run", dim=16, loss_fn=LOSS, batch_size=3),
    }  # fmt: skip


def answers(folder: Path) -> dict[str, list[Tensor]]:
    """By name, an estimator's answers; and of a store of vectors and one of plain gradients."""
    found = {}
    made = estimators(folder)
    for name, estimator in made.items():
        inputs, targets = jobs.queries()
        if next(estimator.model.parameters()).dtype == torch.float64:
            inputs = inputs.double()
        top = estimator.influence(inputs, targets, k=4)[:2]
        found[name] = [estimator.influence(inputs, targets), *top]
        if name != "LESS":
            found[name].append(estimator.influence())
    store = GradientStore.build(made["LoGra"], folder / "vectors")
    found["store of vectors"] = [store.scores(*jobs.queries()), store.self_influence()]
    curved = made["file"]
    curved.store_gradients(folder / "plain", dtype="float64")
    stored = InfluenceFunction(
        curved.model, folder / "plain", LOSS, curvature=EKFAC(factors=folder / "factors")
    )
    inputs, targets = jobs.queries()
    found["store under a curvature"] = [stored.influence(inputs.double(), targets)]
    return found


def refused(folder: Path) -> list[Any]:
    """An example of rank 1's batch without a finite loss; another curvature; and then an answer."""
    model = dealt(jobs.net())
    odd = InfluenceFunction(model, jobs.Dying(jobs.rows(), 4, "nan"), LOSS, batch_size=3)
    good = InfluenceFunction(model, jobs.rows(), LOSS, batch_size=3)
    before = sharded._state(model)
    said: list[Any] = [sharded._said(odd.influence), sharded._said(good.influence)]
    left = sharded._state(model)
    said.append([a for a, b in zip(before, left, strict=True) if not sharded._same(a, b)])
    return said


JOBS = {
    "answers": lambda folder: [answers(folder), refused(folder)],
}


def main() -> None:
    def do(job: str, folder: Path) -> Any:
        if dist.get_rank() == 0:
            record(folder / "run")
        dist.barrier()
        return JOBS[job](folder)

    as_rank(do, leaves=lambda job: True)


if __name__ == "__main__":
    main()
