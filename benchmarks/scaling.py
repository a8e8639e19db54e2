"""How headwater's time and memory grow with N, Q, C and the model's width, by powers of two.

Every point is measured in processes of its own, as `against_peers` does it: time in turn with the
plain pass over the same examples and checkpoints, memory of a question that is asked first.

Usage: python -m benchmarks.scaling [--workload W1] [--axes N Q C width] [--rounds 5] [--threads 1]
           [--training N] [--points K] [--json FILE] [--markdown FILE]

--workload W3 takes the decoder in place of the MLP. --training is N where another number grows;
along the axis of N itself it is in the middle. --points takes the first of each axis, to try it.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.answering import QUESTIONS
from benchmarks.compared import HEADWATER, PLAIN
from benchmarks.machine import header
from benchmarks.process import one
from benchmarks.tables import facts, memory, number, table
from benchmarks.workloads import WORKLOADS

PLACE = "scaling"
# The option of `benchmarks.one` that changes the number.
OPTIONS = {"N": "--training", "Q": "--queries", "C": "--checkpoints", "width": "--width"}
# By workload, besides N: what its numbers go through.
POINTS = {
    "W1": {
        "Q": [25, 50, 100, 200, 400, 800],
        "C": [1, 2, 4, 8, 16],
        "width": [64, 128, 256, 512, 1024],
    },
    "W3": {"Q": [5, 10, 20, 40], "C": [1, 2, 4], "width": [32, 64, 128, 256]},
}


def points(workload: str, axis: str, training: int) -> list[int]:
    """What the number on an axis goes through."""
    if axis == "N":
        return [int(training * 2.0**power) for power in range(-3, 3)]
    return POINTS[workload][axis]


def slope(points: list[tuple[float, float]]) -> float:
    """The slope of the line of least squares through the logarithms: 1 is linear growth."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    mean_x, mean_y = (sum(values) / len(logs) for values in zip(*logs, strict=True))
    together = sum((x - mean_x) * (y - mean_y) for x, y in logs)
    return float(together / sum((x - mean_x) ** 2 for x, _ in logs))


def measure(workload: str, axis: str, value: int, options: argparse.Namespace) -> dict[str, Any]:
    """One point: times and memory of every question."""
    changed: list[object] = ["--training", options.training]
    changed += [OPTIONS[axis], value]  # Of an option given twice the last one counts.

    def ask(method: str, *arguments: object) -> dict[str, Any]:
        return one(workload, method, *changed, *arguments, threads=options.threads)

    plain_batch = ask(PLAIN.name, "--limit", 60)["plain_batch"]
    found = ask(HEADWATER.name, "--rounds", options.rounds, "--plain-batch", plain_batch)
    for question, times in found["questions"].items():
        if "ratio" not in times:
            raise SystemExit(f"{workload}, {axis} = {value}, {question}: {times['error']}")
        plain = ask(PLAIN.name, "--memory", question, "--batch", plain_batch)
        times["memory"] = ask(HEADWATER.name, "--memory", question) | {"plain": plain["peak"]}
    return {"value": value, **found}


def axis_section(axis: str, rows: list[dict[str, Any]]) -> str:
    """An axis as a table, and for N the slopes."""
    head = [axis]
    for question in QUESTIONS:
        head += [question, f"{question}: memory"]
    parts = [table(head, [[f"{row['value']:,}", *_cells(row)] for row in rows])]
    if axis == "N" and len(rows) > 1:
        said = [_slopes(question, rows) for question in QUESTIONS]
        parts.append(f"Slope over log N (1 is linear): {'; '.join(said)}.")
    return "\n\n".join(parts)


def _cells(row: dict[str, Any]) -> list[str]:
    cells = []
    for question in QUESTIONS:
        found = row["questions"][question]
        cells.append(f"{number(found['ratio'])} ({found['seconds']:.3g} s)")
        cells.append(memory(found["memory"]))
    return cells


def _slopes(question: str, rows: list[dict[str, Any]]) -> str:
    found = [(row["value"], row["questions"][question]) for row in rows]
    text = f"{question} {slope([(value, f['seconds']) for value, f in found]):.2f} in time"
    peaks = [(value, f["memory"]["peak"]) for value, f in found]
    if all(peak for _, peak in peaks):
        text += f", {slope(peaks):.2f} in memory"
    return text


def markdown(results: dict[str, Any]) -> str:
    """Every workload's axes."""
    parts = []
    for name, result in results.items():
        base = WORKLOADS[name]
        parts.append(f"### Growth on {name}: {base.says}")
        parts.append(facts(result["header"]))
        parts.append(
            f"Where another number grows, N = {result['training']:,}, Q = {base.queries:,}, "
            f"C = {base.checkpoints}. Time in plain passes (and seconds), peak memory in MB and in "
            "plain passes' peaks."
        )
        parts += [axis_section(axis, rows) for axis, rows in result["axes"].items()]
    return "\n\n".join(parts)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--workload", choices=list(POINTS), default="W1")
    arguments.add_argument("--axes", nargs="+", choices=list(OPTIONS), default=list(OPTIONS))
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--training", type=int, default=None)
    arguments.add_argument("--points", type=int, default=None)
    arguments.add_argument("--json", type=Path, default=None)
    arguments.add_argument("--markdown", type=Path, default=None)
    options = arguments.parse_args()
    options.training = options.training or WORKLOADS[options.workload].training
    results = page.load(options.json)
    axes: dict[str, list[dict[str, Any]]] = {}
    results[options.workload] = {
        "header": header(options.threads),
        "training": options.training,
        "axes": axes,
    }
    for axis in options.axes:
        axes[axis] = []
        for value in points(options.workload, axis, options.training)[: options.points]:
            axes[axis].append(measure(options.workload, axis, value, options))
            print(f"{axis} = {value:,}: {'; '.join(_cells(axes[axis][-1]))}", flush=True)
            if options.json is not None:
                page.write_json(options.json, results)
    if options.markdown is None:
        print(markdown(results))
    else:
        page.put(options.markdown, PLACE, markdown(results))


if __name__ == "__main__":
    main()
