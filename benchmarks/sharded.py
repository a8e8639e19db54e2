"""What a rank holds of a model that `fully_shard` deals out, and how long an answer takes it.

A decoder is made whole once and saved. Then, in each world, every rank makes it without memory
(on the meta device), shards its blocks and the rest of it, and asks for the scores of a few texts:
the checkpoint's rows are read from the file by the rank that holds them. The first line is the
whole model in one process, made and asked in the same way. The scores are held against its own.
Seconds are those of asking once more, one thread a rank; the machine needs a core for each.

Memory is the growth of the resident set to its highest, from before the model is made, the pages
of the mapped checkpoint file among it.

Usage: python -m benchmarks.sharded [--worlds 1 2 3] [--width 768] [--layers 6] [--examples 24]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.utils.data import TensorDataset

from benchmarks.machine import header
from benchmarks.memory import peak_bytes
from benchmarks.models import Decoder
from benchmarks.process import ROOT
from benchmarks.tables import facts, table
from headwater import TracInCP
from headwater.distributed import own_part

Q, LENGTH, VOCABULARY = 2, 16, 4000


def token_losses(logits: Tensor, ids: Tensor) -> Tensor:
    losses = nn.functional.cross_entropy(logits[:, :-1].mT, ids[:, 1:], reduction="none")
    return losses.sum(dim=1)


token_losses.reduction = "none"  # type: ignore[attr-defined]


def decoder(width: int, layers: int) -> Decoder:
    return Decoder(width, layers, heads=8, vocabulary=VOCABULARY, positions=LENGTH)


def texts(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (count, LENGTH), generator=generator)


def rank(place: int, world: int, folder: Path, sizes: argparse.Namespace) -> None:
    """Writes what one rank of a world held, and its scores; a world of 0 is the whole model."""
    width, layers = sizes.width, sizes.layers
    torch.set_num_threads(1)
    if world:
        meeting = f"file://{folder / f'meeting-{world}'}"
        dist.init_process_group("gloo", init_method=meeting, rank=place, world_size=world)
        # What is imported only then, and the group's connections, are no part of the model.
        small = fully_shard(nn.Linear(8, 8))
        small(torch.zeros(1, 8)).sum().backward()
    found: dict[str, Any] = {}

    def ask() -> None:
        with torch.device("meta"):
            model = decoder(width, layers)
        if world:
            for block in model.blocks:
                fully_shard(block)
            fully_shard(model)
        model.to_empty(device="cpu")
        parts = [own_part(parameter) for parameter in model.parameters()]
        found["parameters"] = sum(part.numel() * part.element_size() for part in parts)
        ids, asked = texts(sizes.examples, 1), texts(Q, 2)
        tracin = TracInCP(
            model, TensorDataset(ids, ids), [(folder / "whole.pt", 0.1)],
            loss_fn=token_losses, batch_size=4,
        )  # fmt: skip
        found["scores"] = tracin.influence(asked, asked)
        begun = time.perf_counter()
        tracin.influence(asked, asked)
        found["seconds"] = time.perf_counter() - begun

    found["peak"] = peak_bytes(ask)
    torch.save(found, folder / f"found-{world}-{place}.pt")
    if world:
        dist.destroy_process_group()


def measured(world: int, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What each rank of a world found."""
    ranks = max(1, world)
    sizes = [f"--{name}={getattr(options, name)}" for name in ("width", "layers", "examples")]
    command = [sys.executable, "-m", "benchmarks.sharded", *sizes, "--folder", str(folder)]
    processes = [
        subprocess.Popen(
            [*command, "--rank", str(place), "--world", str(world)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for place in range(ranks)
    ]
    for process in processes:
        if process.wait():
            raise SystemExit(f"a process of {ranks} failed with exit status {process.returncode}")
    return [torch.load(folder / f"found-{world}-{place}.pt") for place in range(ranks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--examples", type=int, default=24)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--world", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is not None:
        rank(options.rank, options.world, options.folder, options)
        return
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        torch.manual_seed(0)
        torch.save(decoder(options.width, options.layers).state_dict(), folder / "whole.pt")
        whole: Tensor | None = None
        for world in (0, *options.worlds):
            found = measured(world, folder, options)
            whole = found[0]["scores"] if whole is None else whole
            apart = max(float((one["scores"] - whole).abs().max()) for one in found)
            held, peak = (max(one[key] for one in found) for key in ("parameters", "peak"))
            name = f"{world} sharded" if world else "1 whole"
            relative = f"{apart / float(whole.abs().max()):.0e}"
            seconds = max(one["seconds"] for one in found)
            megabytes = [f"{(size or 0) / 2**20:,.0f}" for size in (held, peak)]
            rows.append([name, *megabytes, f"{seconds:.2f}", relative])
    print(facts(header(1)), end="\n\n")
    head = ["processes", "parameters, MB a rank", "peak, MB a rank", "s", "scores differ by"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
