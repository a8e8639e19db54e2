"""What ranks do with a model that is sharded over them; run by file, each writes what it got."""

from __future__ import annotations

import copy
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy, linear
from torch.utils.checkpoint import checkpoint
from torch.utils.data import Dataset, TensorDataset

from benchmarks.models import Decoder
from headwater import Exact, GradCos, InfluenceFunction, TracInCP, TracInCPFast
from headwater.distributed import alone
from tests.distributed.as_rank import as_rank

N, Q, LENGTH = 11, 3, 6
LARGE = 50.0


class Recomputed(Decoder):
    """Recomputes its blocks in the backward pass."""

    reentrant = False

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]).expand_as(ids))
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        logits: Tensor = self.head(self.norm(x))
        return logits


class Reentrant(Recomputed):
    reentrant = True


class Tied(Decoder):
    """One table for what goes in and what comes out."""

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.head.weight = self.tokens.weight


class Odd(nn.Module):
    """A parameter without a layer, a layer's weight used outside of it, and a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(7, 5)
        self.frozen = nn.Linear(5, 5).requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(5))
        self.last = nn.Linear(5, 4)
        self.never = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x)) * self.scale
        x = torch.tanh(self.frozen(x))
        out: Tensor = self.last(x) + linear(torch.tanh(x), self.last.weight)
        return out


class Sometimes(nn.Module):
    """Uses a layer's weight outside of it where an example has a large number in front."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(7, 5)
        self.last = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        out: Tensor = self.last(hidden)
        if (x[:, 0] > LARGE).any():
            out = out + (x[:, :1] > LARGE) * linear(torch.tanh(hidden), self.last.weight)
        return out


class Experts(nn.Module):
    """Of two layers calls one, by what is in front of the batch's first example."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(7, 4), nn.Linear(7, 4)])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.experts[int(x[0, 0] > LARGE)](x)
        return out


class Dying(Dataset):
    """Rows, of which one kills the process of rank 1 that reads it, fails, or has no finite loss.

    Attributes:
        read: the places that were read.
    """

    def __init__(self, data: TensorDataset, how: str, place: int = 8) -> None:
        self._data, self._how, self._place = data, how, place
        self.read: set[int] = set()

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Any:
        self.read.add(index)
        row = self._data[index]
        if index != self._place:
            return row
        if self._how == "killed" and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._how == "failing" or (self._how == "failing on one" and dist.get_rank() == 1):
            raise ValueError(f"no row {index}")
        return (row[0] * float("nan"), row[1]) if self._how == "nan" else row


def token_losses(logits: Tensor, ids: Tensor) -> Tensor:
    return cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none").sum(1)


token_losses.reduction = "none"  # type: ignore[attr-defined]


class Case(NamedTuple):
    """A model, how it is sharded, and what it is asked."""

    model: Callable[[], nn.Module]
    shard: Callable[[nn.Module], object]
    data: Any
    queries: Any
    options: dict[str, Any]


def _rows(count: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 7, generator=generator, dtype=torch.float64)
    return TensorDataset(inputs, torch.randint(4, (count,), generator=generator))


def _rows_with_large(place: int) -> TensorDataset:
    rows = _rows(N, 5)
    rows.tensors[0][place, 0] = 2 * LARGE
    return rows


def _ids(count: int, seed: int) -> Tensor:
    return torch.randint(31, (count, LENGTH), generator=torch.Generator().manual_seed(seed))


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 4))


def _decoder(kind: type[Decoder] = Decoder) -> nn.Module:
    return kind(width=12, layers=2, heads=2, vocabulary=31, positions=LENGTH)


def _layers_and_root(model: nn.Module) -> None:
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    fully_shard(model)


def _replicated(model: nn.Module) -> None:
    names = ("replicate", "shard")
    mesh = init_device_mesh("cpu", (dist.get_world_size(), 1), mesh_dim_names=names)
    fully_shard(model[0], mesh=mesh)
    mesh = init_device_mesh("cpu", (1, dist.get_world_size()), mesh_dim_names=names)
    fully_shard(model[2], mesh=mesh)
    fully_shard(model, mesh=mesh)


def _outer_layers(model: nn.Module) -> None:
    fully_shard(model[0])
    fully_shard(model[4])


def _blocks_and_root(model: Any) -> None:
    for block in model.blocks:
        fully_shard(block)
    fully_shard(model)


def cases() -> dict[str, Case]:
    labelled, asked = _rows(N, 5), _rows(Q, 6).tensors
    texts, prompts = TensorDataset(_ids(N, 5), _ids(N, 5)), (_ids(Q, 6), _ids(Q, 6))
    rows = {"loss_fn": nn.CrossEntropyLoss(reduction="none"), "batch_size": 3}
    tokens = {"loss_fn": token_losses, "batch_size": 3}
    small = {**rows, "memory_budget": 2000}
    chosen = {**rows, "batch_size": "auto"}
    some = {**tokens, "layers": ["blocks.1.up", "head"]}
    return {
        "mlp": Case(_mlp, _layers_and_root, labelled, asked, rows),
        "one by one": Case(_mlp, _layers_and_root, labelled, asked, {**rows, "batch_size": 1}),
        # Of the batch of rank 1, when ranks have one each.
        "sometimes": Case(Sometimes, fully_shard, _rows_with_large(4), asked, rows),
        "replicated too": Case(_mlp, _replicated, labelled, asked, rows),
        "whole at once": Case(_mlp, fully_shard, labelled, asked, rows),
        "layers alone": Case(_mlp, _outer_layers, labelled, asked, rows),
        "small budget": Case(_mlp, _layers_and_root, labelled, asked, small),
        "chosen size": Case(_mlp, _layers_and_root, labelled, asked, chosen),
        "odd": Case(Odd, fully_shard, labelled, asked, rows),
        "decoder": Case(_decoder, _blocks_and_root, texts, prompts, tokens),
        "some layers": Case(_decoder, _blocks_and_root, texts, prompts, some),
        "recomputed": Case(
            lambda: _decoder(Recomputed), _blocks_and_root, texts, prompts, tokens
        ),
        "tied": Case(lambda: _decoder(Tied), _blocks_and_root, texts, prompts, tokens),
    }  # fmt: skip


def whole_model(case: Case) -> nn.Module:
    torch.manual_seed(3)
    return case.model().double()


def checkpoints(case: Case) -> list[tuple[dict[str, Tensor], float]]:
    found = []
    for seed, rate in ((1, 0.3), (2, 0.07)):
        model = whole_model(case)
        torch.manual_seed(seed)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        found.append((copy.deepcopy(model.state_dict()), rate))
    return found


def answers_of(model: nn.Module, case: Case) -> list[Tensor]:
    tracin = TracInCP(model, case.data, checkpoints(case), **case.options)
    top = tracin.influence(*case.queries, k=4)
    found = [tracin.influence(*case.queries), tracin.influence(), *top[:2]]
    if isinstance(model, nn.Sequential) and case.options["batch_size"] == 3:
        fast = TracInCPFast(model, model[-1], case.data, checkpoints(case), **case.options)
        found.append(fast.influence(*case.queries))
        cosines = GradCos(model, case.data, checkpoints(case), **case.options)
        found.append(cosines.influence(*case.queries))
    return found


def expected() -> dict[str, Any]:
    """What a single process answers with whole models."""
    return {name: answers_of(whole_model(case), case) for name, case in cases().items()}


def answers() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, case in cases().items():
        model = whole_model(case)
        case.shard(model)
        if name == "mlp":
            # Leaves the outermost module's parameters gathered.
            model(torch.zeros(1, 7, dtype=torch.float64))
        before = _state(model)
        found[name] = answers_of(model, case)
        left = _state(model)
        assert [a for a, b in zip(before, left, strict=True) if not _same(a, b)] == [], name
        assert len(before) == len(left)
    return found


def _state(model: nn.Module) -> list[Any]:
    state = model.state_dict()
    parameters = dict(model.named_parameters())
    model_of = [(name, module.training) for name, module in model.named_modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    return [
        *((key, v.full_tensor() if isinstance(v, DTensor) else v) for key, v in state.items()),
        *((key, id(p), p.requires_grad, p.grad) for key, p in parameters.items()),
        model_of,
        hooks,
    ]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and len(one) == 2 and isinstance(one[1], Tensor):
        return one[0] == other[0] and torch.equal(one[1], other[1])
    return bool(one == other)


def trained() -> list[Any]:
    """Whether training goes on as if nothing had been asked in between."""
    case = cases()["decoder"]
    finals = []
    for asking in (False, True):
        model = whole_model(case)
        case.shard(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ids = _ids(4, 9 + dist.get_rank())
        for step in range(3):
            token_losses(model(ids), ids).mean().backward()
            if asking and step == 1:
                answers_of(model, case)
            optimizer.step()
            optimizer.zero_grad()
        finals.append([p.full_tensor().detach() for p in model.parameters()])
    return finals


def from_files() -> list[Tensor]:
    """Checkpoints as files of whole states, and as folders of `torch.distributed.checkpoint`."""
    from torch.distributed import checkpoint as dcp

    case = cases()["decoder"]
    folder = Path(sys.argv[4])
    model = whole_model(case)
    case.shard(model)
    paths = []
    for place, (state, rate) in enumerate(checkpoints(case)):
        path = folder / f"whole-{place}.pt"
        if dist.get_rank() == 0:
            torch.save({"model": state, "learning_rate": rate}, path)
        paths.append(path)
    dist.barrier()
    found = [TracInCP(model, case.data, paths, **case.options).influence(*case.queries)]
    folders = []
    for place, (state, rate) in enumerate(checkpoints(case)):
        whole = whole_model(case)
        whole.load_state_dict(state)
        case.shard(whole)
        folders.append((str(folder / f"dcp-{place}"), rate))
        dcp.save(whole.state_dict(), checkpoint_id=folders[-1][0])

    def load(model: nn.Module, item: tuple[str, float]) -> float:
        state = model.state_dict()
        dcp.load(state, checkpoint_id=item[0])
        model.load_state_dict(state)
        return item[1]

    tracin = TracInCP(model, case.data, folders, load, **case.options)
    found.append(tracin.influence(*case.queries))
    return found


def half() -> list[Any]:
    """In float32, and with FSDP's own mixed precision."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    case = cases()["decoder"]
    found = []
    reduced = MixedPrecisionPolicy(param_dtype=torch.bfloat16, output_dtype=torch.float32)
    for policy in (MixedPrecisionPolicy(), reduced):
        model = whole_model(case).float()
        for block in model.blocks:
            fully_shard(block, mp_policy=policy)
        fully_shard(model)
        found.append(answers_of(model, case)[0].double())
    return found


def refusals() -> dict[str, str]:
    case, texts = cases()["mlp"], cases()["decoder"]
    model = whole_model(case)
    case.shard(model)
    texts = texts._replace(model=lambda: _decoder(Reentrant))
    again = whole_model(texts)
    texts.shard(again)
    made = TracInCP(model, case.data, checkpoints(case), **case.options)
    loss = nn.CrossEntropyLoss(reduction="none")

    def by_itself() -> None:
        with alone():
            made.influence()

    def curved() -> None:
        made = InfluenceFunction(model, case.data, loss_fn=loss, curvature=Exact())
        made.influence(*case.queries)

    def wrapped() -> None:
        from torch.distributed.fsdp import FullyShardedDataParallel

        older = FullyShardedDataParallel(whole_model(case), device_id=torch.device("cpu"))
        TracInCP(older, case.data, checkpoints(case), **case.options).influence()

    def not_finite() -> None:
        data = Dying(case.data, "nan")
        TracInCP(model, data, checkpoints(case), **case.options).influence()

    def sizes() -> None:
        options = {**case.options, "batch_size": 2 + dist.get_rank()}
        TracInCP(model, case.data, checkpoints(case), **options).influence()

    def others() -> None:
        data = _rows(N, 5 + dist.get_rank())
        TracInCP(model, data, checkpoints(case), **case.options).influence()

    def others_at_the_end() -> None:
        data = _rows(N, 5)
        data.tensors[0][-1] += dist.get_rank()
        TracInCP(model, data, checkpoints(case), **case.options).influence()

    def other_rates() -> None:
        # All of whose batches are dealt out.
        data = TensorDataset(*(part[:6] for part in _rows(N, 5).tensors))
        rates = [(state, rate * (1 + dist.get_rank())) for state, rate in checkpoints(case)]
        TracInCP(model, data, rates, **case.options).influence()

    def not_read_of_all() -> None:
        data = Dying(case.data, "failing on one", place=10)
        TracInCP(model, data, checkpoints(case), **case.options).influence()

    def not_finite_on_one() -> None:
        data = Dying(case.data, "nan", place=4)
        TracInCP(model, data, checkpoints(case), **case.options).influence()

    def not_read_on_one() -> None:
        data = Dying(case.data, "failing", place=4)
        TracInCP(model, data, checkpoints(case), **case.options).influence()

    def other_modules() -> None:
        calls = case._replace(model=Experts, data=_rows_with_large(3))
        chooses = whole_model(calls)
        for expert in chooses.experts:
            fully_shard(expert)
        fully_shard(chooses)
        TracInCP(chooses, calls.data, checkpoints(calls), **case.options).influence()

    def failing() -> None:
        TracInCP(model, TensorDataset(torch.zeros(4, 9).double(), torch.zeros(4).long()),
                 checkpoints(case), **case.options).influence()  # fmt: skip

    asked: dict[str, Callable[[], Any]] = {
        "alone": by_itself,
        "curved": curved,
        "older": wrapped,
        "not finite": not_finite,
        "sizes": sizes,
        "others": others,
        "others at the end": others_at_the_end,
        "not finite on one": not_finite_on_one,
        "not read on one": not_read_on_one,
        "not read of all": not_read_of_all,
        "other rates": other_rates,
        "other modules": other_modules,
        "failing": failing,
        "reentrant": lambda: answers_of(again, texts),
        "afterwards": lambda: answers_of(model, case),
    }
    return {name: _said(ask) for name, ask in asked.items()}


def _said(ask: Callable[[], Any]) -> Any:
    """What it comes back with, or the error that it raises."""
    try:
        return ask()
    except Exception as error:
        if os.environ.get("SHARDED_RAISE"):
            raise
        return f"{type(error).__name__}: {error}"


def killed(place: int = 8) -> Any:
    case = cases()["mlp"]
    model = whole_model(case)
    case.shard(model)
    data = Dying(case.data, "killed", place)
    return TracInCP(model, data, checkpoints(case), **case.options).influence()


def read() -> set[int]:
    """Which examples a rank reads."""
    case = cases()["mlp"]
    model = whole_model(case)
    case.shard(model)
    data = Dying(case.data, "not at all")
    TracInCP(model, data, checkpoints(case), **case.options).influence(*case.queries)
    return data.read


JOBS: dict[str, Callable[[], Any]] = {
    "answers": answers,
    "trained": trained,
    "from_files": from_files,
    "half": half,
    "refusals": refusals,
    "killed": killed,
    "killed with a batch of its own": lambda: killed(place=4),
    "read": read,
}


def main() -> None:
    as_rank(
        lambda jobs, folder: {job: _said(JOBS[job]) for job in jobs.split(",")},
        leaves=lambda jobs: True,
    )


if __name__ == "__main__":
    main()
