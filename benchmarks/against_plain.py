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
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.paired import in_turn
from benchmarks.plain import fastest_batch_size, plain_pass
from benchmarks.workloads import WORKLOADS, Case, case, cross_entropy
from headwater import TracInCP, TracInCPFast
from headwater.version import __version__
from tests.oracles import tracin

if TYPE_CHECKING:
    from collections.abc import Callable

K = 10


def estimator(case: Case) -> TracInCP | TracInCPFast:
    workload = case.workload
    options = {"loss_fn": cross_entropy, "batch_size": "auto"}
    data = TensorDataset(*case.training)
    checkpoints = list(zip(case.states, workload.rates, strict=True))
    if workload.final_layer is None:
        return TracInCP(workload.build(), data, checkpoints, **options)  # type: ignore[arg-type]
    return TracInCPFast(
        workload.build(), workload.final_layer, data, checkpoints, **options  # type: ignore[arg-type]
    )  # fmt: skip


def difference(case: Case, scores: Tensor) -> float:
    """The largest difference from the autograd loop over 4 x 2 pairs, relative to the largest."""
    workload = case.workload
    model = workload.build().double().eval()
    names = tracin.trainable_names(model)
    if workload.final_layer is not None:
        names = [name for name in names if name.startswith(f"{workload.final_layer}.")]
    training = [len(case.training[1]) * place // 4 for place in range(4)]
    queries = [0, len(case.queries[1]) - 1]

    def loss(model: nn.Module, example: tuple[Tensor, Tensor]) -> Tensor:
        return cross_entropy(model(example[0][None]), example[1][None])

    def some(part: tuple[Tensor, Tensor], places: list[int]) -> list[tuple[Tensor, Tensor]]:
        inputs, targets = part
        if inputs.is_floating_point():
            inputs = inputs.double()
        return [(inputs[place], targets[place]) for place in places]

    states = [{name: tensor.double() for name, tensor in state.items()} for state in case.states]
    expected = tracin.influence_scores(
        model,
        list(zip(states, workload.rates, strict=True)),
        loss,
        some(case.training, training),
        some(case.queries, queries),
        names,
    )
    found = scores[queries][:, training].double()
    return float((found - expected).abs().max() / expected.abs().max())


def measure(name: str, *, rounds: int, examples: int | None) -> dict[str, object]:
    """A row of the table."""
    built = case(WORKLOADS[name], training=examples)
    batch_size = fastest_batch_size(built)
    asked = estimator(built)
    error = difference(built, asked.influence(*built.queries))  # type: ignore[arg-type]
    if error > 1e-3:
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
