"""What ranks do with stores of models that are sharded over them; run by file, as `sharded`."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, TensorDataset

from headwater import GradientStore, Projected, TracInCP
from headwater.distributed import alone
from headwater.estimators.stored import writing
from tests.distributed import sharded, store_jobs
from tests.distributed.as_rank import as_rank
from tests.distributed.jobs import N, Stream, checkpoints, net, queries, rows
from tests.distributed.store_jobs import DOOMED, Doomed, contents

LOSS = nn.CrossEntropyLoss(reduction="none")


def dealt(model: nn.Module) -> nn.Module:
    """The model, by layers dealt out to the ranks of a group, where there is one."""
    if dist.is_initialized():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                fully_shard(module)
        fully_shard(model)
    return model


def tracin(source: Any, **options: Any) -> TracInCP:
    return TracInCP(dealt(net()), source, checkpoints(), loss_fn=LOSS, **options)


def misfit() -> TracInCP:
    whole = store_jobs.misfit()
    (state, rate), *_ = whole.checkpoints
    states = [(copy.deepcopy(state), rate)]
    model = store_jobs.Misfit()
    if dist.is_initialized():
        fully_shard(model)
    return TracInCP(model, whole.influence_src_dataset, states, loss_fn=LOSS, batch_size=3)


def of_case(name: str) -> TracInCP:
    case = sharded.cases()[name]
    model = sharded.whole_model(case)
    if dist.is_initialized():
        case.shard(model)
    return TracInCP(model, case.data, sharded.checkpoints(case), **case.options)


def kinds() -> dict[str, tuple[TracInCP, dict[str, Any], int]]:
    """By name, an estimator, options of its store, and bytes after which a shard is closed."""
    data = rows()
    uneven = DataLoader(data, batch_sampler=store_jobs.UNEVEN)
    return {
        "a few batches a shard": (tracin(data, batch_size=3), {}, 2**26),
        "a batch a shard": (tracin(data, batch_size=2), {"form": "materialised"}, 1),
        "uneven": (tracin(uneven), {"ids": [f"row {n}" for n in range(N)]}, 2**26),
        "stream": (tracin(DataLoader(Stream(data), batch_size=3)), {"dtype": "float16"}, 1000),
        "projected": (tracin(data, batch_size=4), {"form": Projected(6, seed=1)}, 2**26),
        "rule that doesn't fit": (misfit(), {}, 2**26),
        "odd": (of_case("odd"), {}, 400),
        "recomputed": (of_case("recomputed"), {}, 2**26),
    }


def asked_of(name: str) -> Any:
    cases = sharded.cases()
    return cases[name].queries if name in cases else queries()


def answers(store: GradientStore, name: str) -> list[object]:
    asked = asked_of(name)
    # Without vmap, which a sharded model doesn't go through, float64 rounds in another way.
    scores = store.scores(*asked).float()
    found: list[object] = [store.ids, scores, store.self_influence()]
    for way in [{}, {"recompute": 9}] if name == "projected" else [{}]:
        top = store.top_k(*asked, k=5, **way)
        found += [top.indices, top.influence_scores.float(), top.ids, top.exact]
    return found


def everything(folder: Path) -> dict[str, list[object]]:
    """Builds stores, asks and changes them; bytes and answers after each."""
    found = {}
    for name, (estimator, options, nbytes) in kinds().items():
        writing.SHARD_BYTES = nbytes
        store = GradientStore.build(estimator, folder / name, **options)
        told: list[object] = [contents(store.path), *answers(store, name)]
        if name not in sharded.cases():
            ids = [f"more {n}" for n in range(11)] if "ids" in options else None
            store.append(store_jobs.more(), ids=ids)
            told += [contents(store.path), *answers(store, name)]
            store.delete(store.ids[2:4])
            store.compact()
            told += [contents(store.path), *answers(store, name)]
        again = GradientStore.open(store.path, estimator)
        found[name] = [*told, *answers(again, name)]
    writing.SHARD_BYTES = 2**26
    return found


def goes_on(path: Path) -> list[object]:
    """Ends a build that was killed; what there is then, also for an estimator of the store."""
    store = GradientStore.build(tracin(Doomed(None), batch_size=3), path)
    beside = TracInCP(store._estimator.model, path, checkpoints(), loss_fn=LOSS)
    told = [beside.influence(*queries()), beside.influence(), *beside.influence(*queries(), k=3)]
    return [contents(path), *answers(store, "gone on with"), *told]


def refused(folder: Path) -> list[Any]:
    """What is said where one rank fails; the model and the folder stay usable."""
    build, rank = GradientStore.build, dist.get_rank()
    model = dealt(net())
    make = partial(TracInCP, model, checkpoints=checkpoints(), loss_fn=LOSS, batch_size=3)
    before = sharded._state(model)
    store = build(make(rows()), folder / "whole")

    def by_itself() -> None:
        with alone():
            store.scores(*queries())

    more = TensorDataset(*(torch.cat([t, t]) for t in store_jobs.more().tensors))
    elsewhere = folder / ("whole" if rank else "nowhere")
    asks = [
        by_itself,
        lambda: build(make(Doomed("not finite")), folder / "failed"),
        lambda: build(make(Failing(rows())), folder / "unread"),
        lambda: store.append(Doomed("not finite", more)),
        lambda: GradientStore.open(elsewhere, make(rows())),
        lambda: store.scores(*(part[: 2 + rank] for part in queries())),
        lambda: build(
            TracInCP(model, rows(), checkpoints(), loss_fn=LOSS, batch_size=3 + rank),
            folder / "sizes",
        ),
    ]
    said: list[Any] = [sharded._said(ask) for ask in asks]
    left = sharded._state(model)
    said.append([a for a, b in zip(before, left, strict=True) if not sharded._same(a, b)])
    return [*said, contents(folder / "whole"), *answers(store, "whole")]


class Failing(torch.utils.data.Dataset):
    """Rows of which one can't be read."""

    def __init__(self, data: TensorDataset) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Any:
        if index == DOOMED:
            raise ValueError(f"no row {index}")
        return self._data[index]


JOBS = {
    "killed": lambda folder: [
        GradientStore.build(tracin(Doomed("killed"), batch_size=3), folder / "store")
    ],
    "everything": lambda folder: [everything(folder / "stores"), goes_on(folder / "killed")],
    "refused": refused,
}


def main() -> None:
    as_rank(lambda job, folder: JOBS[job](folder), leaves=lambda job: job != "killed")


if __name__ == "__main__":
    main()
