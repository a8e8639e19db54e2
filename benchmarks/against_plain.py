"""Every workload as a multiple of a plain forward and backward pass, in one run.

The plain pass goes over the same examples at the same checkpoints, from slices of tensors in
memory, at the batch size at which it is fastest; it is timed in turn with each question. For
self-influence it leaves the queries out. Before anything is timed, some of the scores are held
against a plain autograd loop in float64.

Usage: python -m benchmarks.against_plain [W1 W2 ...] [--rounds 5] [--threads 1] [--examples N]
       [--json FILE]

With --examples only the first N training examples are taken: what a call costs once then weighs
more than at full size.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.agreement import TOLERANCE, from_autograd
from benchmarks.answering import K
from benchmarks.own import estimator
from benchmarks.paired import in_turn
from benchmarks.plain import fastest_batch_size, plain_pass
from benchmarks.workloads import WORKLOADS, case
from headwater.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable


def measure(name: str, *, rounds: int, examples: int | None) -> dict[str, object]:
    """A row of the table."""
    built = case(WORKLOADS[name], training=examples)
    batch_size = fastest_batch_size(built)
    asked = estimator(built)
    error = from_autograd(built, asked.influence(*built.queries))  # type: ignore[arg-type]
    if error > TOLERANCE:
        raise SystemExit(f"{name}: scores are off by {error:.1e}; nothing was measured")
    questions: dict[str, tuple[Callable[[], object], bool]] = {
        "all scores": (lambda: asked.influence(*built.queries), True),
        "self-influence": (lambda: asked.influence(), False),
        f"top {K}": (lambda: asked.influence(*built.queries, k=K), True),
    }
    row: dict[str, object] = {
        "workload": name,
        "difference": error,
        "N": len(built.training[1]),
        "plain batch": batch_size,
    }
    for question, (ask, with_queries) in questions.items():
        floor = functools.partial(plain_pass, built, batch_size, queries=with_queries)
        paired = in_turn(floor, ask, rounds=rounds)
        row[question] = round(statistics.median(paired.ratios), 2)
        row[f"{question}, from and to"] = [round(f(paired.ratios), 2) for f in (min, max)]
        row["plain seconds"] = round(statistics.median(paired.floor), 2)
    return row


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("workloads", nargs="*", default=list(WORKLOADS))
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--examples", type=int, default=None)
    arguments.add_argument("--json", type=Path, default=None)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    print(f"headwater {__version__}, torch {torch.__version__}, {options.threads} threads")
    for name in options.workloads:
        rows.append(measure(name, rounds=options.rounds, examples=options.examples))
        print(rows[-1], flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
