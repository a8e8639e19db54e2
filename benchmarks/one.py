"""One method on one workload, in a process of its own; what was found is JSON on stdout.

Usage: python -m benchmarks.one WORKLOAD METHOD [--examples N] [--rounds 5] [--limit SECONDS]
           [--plain-batch B] [--scores FILE]
       python -m benchmarks.one WORKLOAD METHOD --memory QUESTION [--batch B] [--examples N]
       python -m benchmarks.one WORKLOAD plain [--limit SECONDS]

The first measures time, all questions; the second the memory of one question, which nothing else
has been asked before in this process; the third finds the plain pass's batch size. --limit is the
time that a peer may take for a question, all rounds together: it's given fewer training examples,
the first so many, where it would take longer. --training, --queries, --checkpoints and --width
change the workload itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.answering import QUESTIONS
from benchmarks.compared import METHODS, PLAIN
from benchmarks.measured import memory_of, times_of
from benchmarks.plain import fastest_batch_size
from benchmarks.workloads import WORKLOADS, case, changed


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("workload", choices=list(WORKLOADS))
    arguments.add_argument("method", choices=[PLAIN.name, *METHODS])
    arguments.add_argument("--memory", choices=QUESTIONS, default=None)
    arguments.add_argument("--scores", type=Path, default=None)
    arguments.add_argument("--limit", type=float, default=None)
    for name in ("examples", "batch", "plain-batch"):
        arguments.add_argument(f"--{name}", type=int, default=None)
    for name in ("training", "queries", "checkpoints", "width"):
        arguments.add_argument(f"--{name}", type=int, default=None)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    with _stdout_for_us_alone() as write:
        write(json.dumps(_found(options)))


def _found(options: argparse.Namespace) -> dict[str, object]:
    workload = changed(
        WORKLOADS[options.workload],
        training=options.training,
        queries=options.queries,
        checkpoints=options.checkpoints,
        width=options.width,
    )
    built = case(workload, training=options.examples)
    if options.memory is not None:
        kind = (PLAIN if options.method == PLAIN.name else METHODS[options.method]).load()
        return asdict(memory_of(kind, built, options.memory, options.batch))
    plain_batch = options.plain_batch or fastest_batch_size(built, limit=options.limit)
    if options.method == PLAIN.name:
        return {"plain_batch": plain_batch}
    method = METHODS[options.method]
    times, kept = times_of(
        method.load(),
        built,
        plain_batch,
        rounds=options.rounds,
        limit=None if method.own else options.limit,
    )
    if options.scores is not None:
        torch.save(kept, options.scores)
    return times


@contextlib.contextmanager
def _stdout_for_us_alone():  # type: ignore[no-untyped-def]
    """Send what anybody prints to stderr, and yield a function that writes to stdout."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield lambda text: os.write(stdout, text.encode())
    finally:
        os.close(stdout)


if __name__ == "__main__":
    main()
