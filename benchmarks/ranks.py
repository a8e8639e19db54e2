"""Two or more processes with a thread each, against one process with one thread.

    python -m benchmarks.ranks [W1 W3 ...] [--ranks 2] [--rounds 5] [--examples N]

All are in one run, in turn: the first rank answers by itself while the others wait, then all of
them answer together. The scores have to be the same, bit for bit. What the machine has to give is
measured beside it: a plain forward and backward pass over all examples in one process, against
passes over a part each in all of them at a time, which exchange nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import distributed as dist

from benchmarks.own import estimator
from benchmarks.plain import fastest_batch_size, plain_pass
from benchmarks.smaller import with_training
from benchmarks.workloads import WORKLOADS, case
from headwater.distributed import alone

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from benchmarks.workloads import Case


def main() -> None:
    asked = _parser().parse_args()
    if "WORLD_SIZE" in os.environ:
        measured(asked)
        return
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={asked.ranks}"]
    own = ["-m", "benchmarks.ranks", *sys.argv[1:]]
    raise SystemExit(subprocess.run([sys.executable, *launch, *own], check=False).returncode)


def measured(asked: argparse.Namespace) -> None:
    """Prints, on the first rank, how many times as fast all ranks are as one."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for name in asked.workloads:
        built = case(WORKLOADS[name], training=asked.examples)
        asking = estimator(built)
        questions: dict[str, Callable[[], Tensor]] = {
            "all scores": lambda asking=asking, built=built: asking.influence(*built.queries),  # type: ignore[misc]
            "self-influence": lambda asking=asking: asking.influence(),  # type: ignore[misc]
        }
        for question, ask in questions.items():
            _print(name, built, question, [_round(ask) for _ in range(asked.rounds + 1)][1:])
        part = with_training(built, -(-len(built.training[1]) // dist.get_world_size()))
        size = fastest_batch_size(built, limit=20.0)
        plain = [_plain_round(built, part, size) for _ in range(asked.rounds + 1)][1:]
        _print(name, built, "plain passes that exchange nothing", plain)
    dist.destroy_process_group()


def _print(name: str, built: Case, what: str, ratios: list[float]) -> None:
    if not dist.get_rank():
        print(
            f"{name}, N = {len(built.training[1]):,}, {what}: {dist.get_world_size()} processes "
            f"are {statistics.median(ratios):.2f} times as fast as one ({min(ratios):.2f} to "
            f"{max(ratios):.2f})",
            flush=True,
        )


def _plain_round(built: Case, part: Case, batch_size: int) -> float:
    def seconds(work: Callable[[], object]) -> float:
        dist.barrier()
        begun = time.perf_counter()
        work()
        dist.barrier()
        return time.perf_counter() - begun

    first = not dist.get_rank()
    alone_in_it = partial(plain_pass, built, batch_size, queries=False) if first else str
    return seconds(alone_in_it) / seconds(partial(plain_pass, part, batch_size, queries=False))


def _round(ask: Callable[[], Tensor]) -> float:
    dist.barrier()
    by_itself, expected = 0.0, None
    if not dist.get_rank():
        with alone():
            begun = time.perf_counter()
            expected = ask()
            by_itself = time.perf_counter() - begun
    dist.barrier()
    begun = time.perf_counter()
    found = ask()
    dist.barrier()
    together = time.perf_counter() - begun
    if expected is not None and not torch.equal(found, expected):
        raise SystemExit("the ranks have other scores than one process")
    return by_itself / together


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", default=["W1", "W3"])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=None)
    return parser


if __name__ == "__main__":
    main()
