"""What the processes of a group do with stores in tests; run by file, as `jobs`."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import torch
from torch import distributed as dist
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from headwater import TRAK, GradientStore, Projected, TracInCP
from headwater.estimators.stored import writing
from tests.distributed.as_rank import as_rank
from tests.distributed.jobs import N, Stream, checkpoints, net, queries, rows

# Not among the examples that a store is compared by; in a run of the second turn of 2 and 3 ranks.
DOOMED = 19
UNEVEN = [[0, 1, 2], [3], [4, 5], *([i, i + 1, i + 2] for i in range(6, 24, 3)), [24, 25]]
# A batch of the first size is half a shard, one of the others a whole one.
GROWING = [[0], *([i, i + 1, i + 2] for i in range(1, 25, 3)), [25]]


class Doomed(torch.utils.data.Dataset):
    """Rows of which one kills the process that reads it, or has no finite loss, in a group."""

    def __init__(self, how: str | None, data: TensorDataset | None = None) -> None:
        self._data, self._how = data or rows(), how

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int):
        row = self._data[index]
        if index == DOOMED and self._how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == DOOMED and self._how == "not finite":
            return (row[0] * float("nan"), row[1])
        return row


class Misfit(nn.Module):
    """Uses a layer's weight without the layer, for examples of one kind, which come late."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net()
        self.spare = nn.Linear(7, 4, bias=False)

    def forward(self, x):
        out = self.body(x)
        odd = x[:, :1] > 50
        if bool(odd.any()):
            out = out + odd * (x @ self.spare.weight.T) / 100
        return out


def tracin(source, model=None, **options) -> TracInCP:
    return TracInCP(
        net() if model is None else model,
        source,
        checkpoints() if model is None else [(model.state_dict(), 0.2)],
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        **options,
    )


def misfit() -> TracInCP:
    inputs, targets = rows().tensors
    inputs[DOOMED, 0] = 100
    torch.manual_seed(4)
    return tracin(TensorDataset(inputs, targets), Misfit(), batch_size=3)


def more() -> TensorDataset:
    generator = torch.Generator().manual_seed(8)
    inputs = torch.randn(11, 7, generator=generator)
    return TensorDataset(inputs, torch.randint(4, (11,), generator=generator))


def kinds():
    """By name, an estimator, options of its store, and bytes after which a shard is closed."""
    data = rows()
    names = [f"row {n}" for n in range(N)]
    trak = TRAK(
        net(), data, checkpoints(), loss_fn=nn.CrossEntropyLoss(reduction="none"), dim=8,
        batch_size=3,
    )  # fmt: skip
    return {
        "a few batches a shard": (tracin(data, batch_size=3), {}, 2**26),
        "cut within a run": (tracin(DataLoader(data, batch_sampler=GROWING)), {}, 400),
        "uneven": (tracin(DataLoader(data, batch_sampler=UNEVEN)), {"ids": names}, 2**26),
        "stream": (tracin(DataLoader(Stream(data), batch_size=3)), {"dtype": "float16"}, 1000),
        "projected": (tracin(data, batch_size=4), {"form": Projected(6, seed=1)}, 2**26),
        "vectors": (trak, {}, 2**26),
        "rule that doesn't fit": (misfit(), {}, 2**26),
    }


def contents(path: Path) -> dict[str, str]:
    files = [file for file in sorted(path.iterdir()) if not file.name.startswith(".lock")]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def answers(store: GradientStore, name: str) -> list[object]:
    found: list[object] = [store.ids, store.scores(*queries()), store.self_influence()]
    ways = [{}, {"side": "opponents"}]
    if name == "projected":
        ways += [{"recompute": 9}, {"approximate": 8}, {"recompute": 9, "approximate": 9}]
    for way in ways:
        top = store.top_k(*queries(), k=5, **way)
        found += [top.indices, top.influence_scores, top.ids, top.exact]
    if name != "vectors":
        groups = [place % 4 for place in range(len(store))]
        found.append(store.attribute(*queries()).over_examples(groups).tensor())
    return found


def everything(folder: Path) -> dict[str, list[object]]:
    """Builds stores, asks and changes them; bytes and answers after each."""
    found = {}
    for name, (estimator, options, nbytes) in kinds().items():
        writing.SHARD_BYTES = nbytes
        path = folder / name
        store = GradientStore.build(estimator, path, **options)
        told = [contents(path), *answers(store, name)]
        ids = [f"more {n}" for n in range(11)] if "ids" in options else None
        store.append(more(), ids=ids)
        told += [contents(path), *answers(store, name)]
        store.delete([store.ids[2], *store.ids[-11:]])
        told += [contents(path), *answers(store, name)]
        store.compact()
        found[name] = [*told, contents(path), *answers(store, name)]
    writing.SHARD_BYTES = 2**26
    return found


def goes_on(path: Path) -> list[object]:
    """Ends a build that was killed; what there is then."""
    store = GradientStore.build(tracin(Doomed(None), batch_size=3), path)
    return [contents(path), *answers(store, "gone on with")]


def asked(path: Path) -> list[object]:
    return answers(GradientStore.open(path, tracin(rows(), batch_size=3)), "asked")


def refused(folder: Path) -> list[str]:
    """What is said where ranks ask different things, or one fails; the folder stays usable."""

    def message(call) -> str:
        try:
            call()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "nothing"

    rank = dist.get_rank()
    build = GradientStore.build
    other = tracin(rows(), batch_size=3)
    if rank:
        other = tracin(TensorDataset(rows().tensors[0] + 1, rows().tensors[1]), batch_size=3)
    ids = [n + rank for n in range(N)]
    said = [
        message(lambda: build(other, folder / "data")),
        message(lambda: build(tracin(rows(), batch_size=3), folder / "ids", ids=ids)),
        message(lambda: build(tracin(Doomed("not finite"), batch_size=3), folder / "failed")),
    ]
    store = build(tracin(rows(), batch_size=3), folder / "whole")
    doomed = Doomed("not finite", TensorDataset(*(torch.cat([t, t]) for t in more().tensors)))
    said.append(message(lambda: store.append(doomed)))
    said.append(message(lambda: store.append(more(), ids=[rank, *range(100, 110)])))
    said.append(contents(folder / "whole"))
    mine = folder / f"of rank {rank}"
    said.append(message(lambda: build(tracin(rows(), batch_size=3), mine)))
    unlike = store.self_influence if rank else lambda: store.scores(*(t[:1] for t in queries()))
    said.append(message(unlike))
    return said


JOBS = {
    "killed": lambda folder: [
        GradientStore.build(tracin(Doomed("killed"), batch_size=3), folder / "store")
    ],
    "everything": lambda folder: [
        everything(folder / "stores"),
        goes_on(folder / "killed"),
        asked(folder / "asked"),
    ],
    "refused": refused,
}


def main() -> None:
    as_rank(lambda job, folder: JOBS[job](folder), leaves=lambda job: job == "everything")


if __name__ == "__main__":
    main()
