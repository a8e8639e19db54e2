"""What the processes of a group do in tests; run by file, each rank writes what it got."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import torch
from torch import distributed as dist
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from headwater import InputError, TracInCP, TracInCPFast, register_rule
from headwater.distributed import alone
from tests.distributed.as_rank import as_rank

N, Q = 26, 3
LARGE = 50.0


class Stream(IterableDataset):
    """Rows whose number nobody knows."""

    def __init__(self, data: TensorDataset) -> None:
        self._data = data

    def __iter__(self):
        return (self._data[place] for place in range(len(self._data)))


class Dying(torch.utils.data.Dataset):
    """Rows, of which one kills the process that reads it, or has no finite loss."""

    def __init__(self, data: TensorDataset, place: int, how: str) -> None:
        self._data, self._place, self._how = data, place, how

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int):
        row = self._data[index]
        if index == self._place and dist.is_initialized():
            if self._how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            return (row[0] * float("nan"), row[1])
        return row


def rows() -> TensorDataset:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(N, 7, generator=generator)
    return TensorDataset(inputs, torch.randint(4, (N,), generator=generator))


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 4))


def checkpoints():
    found = []
    for seed, rate in ((1, 0.3), (2, 0.07)):
        model = net()
        torch.manual_seed(seed)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        found.append((model.state_dict(), rate))
    return found


def queries():
    generator = torch.Generator().manual_seed(6)
    return torch.randn(Q, 7, generator=generator), torch.randint(4, (Q,), generator=generator)


def estimators():
    """By name, estimators over every kind of data."""
    loss = nn.CrossEntropyLoss(reduction="none")
    data = rows()
    by_twos = [[i, i + 1] for i in range(0, N, 2)]
    sources = {
        "data set": (data, {"batch_size": 3}),
        # Ranks exchange the columns of several of these at a time.
        "one by one": (data, {"batch_size": 1}),
        "loader": (DataLoader(data, batch_size=4), {}),
        "stacking loader": (DataLoader(data, batch_size=5, collate_fn=_stacked), {}),
        "sampler": (DataLoader(data, batch_sampler=by_twos), {}),
        "stream": (DataLoader(Stream(data), batch_size=3), {}),
        "small budget": (data, {"batch_size": 3, "memory_budget": 2000}),
    }
    found = {
        name: TracInCP(net(), source, checkpoints(), loss_fn=loss, **more)
        for name, (source, more) in sources.items()
    }
    model = net()
    found["last layer"] = TracInCPFast(
        model, model[2], data, checkpoints(), loss_fn=loss, batch_size=7
    )
    return found


def answers() -> dict[str, object]:
    found: dict[str, object] = {}
    for name, estimator in estimators().items():
        if dist.is_initialized() and not dist.get_rank():
            # What the first rank settles by itself, the others have yet to.
            with alone():
                estimator.influence(*queries())
        top = estimator.influence(queries()[0], queries()[1], k=6)
        low = estimator.influence(queries()[0], queries()[1], k=6, proponents=False)
        found[name] = [
            estimator.influence(*queries()),
            estimator.influence(),
            *top[:2],
            *low[:2],
            estimator.attribute(*queries()).over_examples([i % 4 for i in range(N)]).tensor(),
        ]
    return found


def one(how: str) -> object:
    """An answer during which rank 1 is killed, or meets a number that isn't finite."""
    loss = nn.CrossEntropyLoss(reduction="none")
    data = Dying(rows(), 13, how)
    return TracInCP(net(), data, checkpoints(), loss_fn=loss, batch_size=3).influence()


class Scale(nn.Module):
    """Scales its inputs, twice where the first is large: of that its rule knows nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        once = x * self.weight
        return torch.where(x[:, :1] > LARGE, once * self.weight, once)


def looked_at_by_one() -> object:
    """Scores where a rule is wrong for two examples, of which only one is looked at, by rank 0.

    Of batches of 3, the third is rank 0's second, and the first two examples of it are looked at
    with the second checkpoint, the fourth time that rank 0 captures one. The fourth batch is rank
    1's second, at which rank 1 doesn't look.
    """
    register_rule(Scale, lambda call: {"weight": call.input * call.output_grad})
    data = rows()
    data.tensors[0][6, 0] = data.tensors[0][9, 0] = 2 * LARGE
    torch.manual_seed(3)
    model = nn.Sequential(Scale(), nn.Linear(7, 4))
    states = []
    for rate in (0.3, 0.07):
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.1)
        states.append(({name: p.clone() for name, p in model.state_dict().items()}, rate))
    loss = nn.CrossEntropyLoss(reduction="none")
    return TracInCP(model, data, states, loss_fn=loss, batch_size=3).influence(*queries())


def looked_at_first(place: int) -> object:
    """Norms where a rule is wrong for one example of the second batch, which is rank 1's first."""
    register_rule(Scale, lambda call: {"weight": call.input * call.output_grad})
    data = rows()
    data.tensors[0][place, 0] = 2 * LARGE
    torch.manual_seed(3)
    model = nn.Sequential(Scale(), nn.Linear(7, 4))
    loss = nn.CrossEntropyLoss(reduction="none")
    states = [(model.state_dict(), 0.3)]
    return TracInCP(model, data, states, loss_fn=loss, batch_size=2).influence()


def different() -> object:
    """What two ranks are told that ask about other queries, and then of other checkpoints."""
    rank = dist.get_rank()
    loss = nn.CrossEntropyLoss(reduction="none")
    asked = TracInCP(net(), rows(), checkpoints(), loss_fn=loss, batch_size=3)
    inputs, targets = queries()
    try:
        asked.influence(inputs + rank, targets)
    except InputError as error:
        said = str(error)
    some = checkpoints()[: 1 + rank]
    try:
        TracInCP(net(), rows(), some, loss_fn=loss, batch_size=3).influence()
    except InputError as error:
        said = f"{said}\n{error}"
    rates = [(state, rate * (1 + rank)) for state, rate in checkpoints()]
    try:
        TracInCP(net(), rows(), rates, loss_fn=loss, batch_size=3).influence()
    except InputError as error:
        return f"{said}\n{error}"
    return said


def _stacked(examples):
    return tuple(torch.stack(parts) for parts in zip(*examples, strict=True))


def methods(job: str, folder: Path) -> object:
    from tests.distributed import methods

    return methods.answers(folder) if job == "methods" else methods.fit(job.split()[-1])


JOBS = {
    "answers": lambda folder: answers(),
    "killed": lambda folder: one("killed"),
    "nan": lambda folder: one("nan"),
    "looked at first": lambda folder: looked_at_first(2),
    "looked at by one": lambda folder: looked_at_by_one(),
    "different": lambda folder: different(),
    "methods": partial(methods, "methods"),
    "fit killed": partial(methods, "fit killed"),
    "fit nan": partial(methods, "fit nan"),
}


def main() -> None:
    as_rank(lambda job, folder: JOBS[job](folder), leaves=lambda job: job in ("answers", "methods"))


if __name__ == "__main__":
    main()
