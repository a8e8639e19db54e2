"""Every workload by headwater and by each installed peer, as multiples of a plain pass.

Each method has a process of its own, in which its questions are timed in turn with a plain forward
and backward pass over the same examples and checkpoints; then one for the memory of each question,
asked there for the first time. Scores of the first training examples are compared with headwater's.

Usage: python -m benchmarks.against_peers [W1 W2 ...] [--methods METHOD ...] [--rounds 5]
           [--threads 1] [--examples N] [--limit SECONDS] [--json FILE] [--markdown FILE]
           [--place NAME]

A peer that would take longer than --limit for a question, all rounds together, is given the first
so many training examples only, and its own plain pass goes over those; the table says how many, and
headwater is timed on as many once more, to be compared with. It always gets all as well. What FILE
has of other workloads stays there, and of other methods if it was measured with the same versions,
so that a long run can be done in parts; it is written after every method.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import page
from benchmarks.agreement import TOLERANCE, difference, reference
from benchmarks.answering import ALL_SCORES, QUESTIONS
from benchmarks.compared import HEADWATER, METHODS, PLAIN, Method
from benchmarks.machine import header
from benchmarks.process import ProcessFailed, one
from benchmarks.tables import facts, memory, workload_section
from benchmarks.workloads import WORKLOADS, case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

PLACE = "peers"


class Comparison:
    """One workload by one method after the other; headwater comes first."""

    def __init__(self, name: str, options: argparse.Namespace, folder: Path) -> None:
        self.name, self.options, self.folder = name, options, folder
        self.workload = WORKLOADS[name]
        self.plain_batch = self._one(PLAIN, "--limit", options.limit)["plain_batch"]
        self.expected: dict[str, Tensor] = {}
        self._plain_memory: dict[tuple[str, int], int | None] = {}
        self._headwater: dict[int, dict[str, float]] = {}

    def results(self, methods: list[Method]) -> Iterator[dict[str, Any]]:
        """What is written down of the workload, after every method: the next may take long."""
        result: dict[str, Any] = {
            "header": header(self.options.threads),
            "workload": {
                "says": self.workload.says,
                "N": self.options.examples or self.workload.training,
                "Q": self.workload.queries,
                "C": self.workload.checkpoints,
            },
            "rows": [],
        }
        for method in methods:
            result["rows"].append(self.row(method))
            print(f"{self.name} {_line(result['rows'][-1])}", flush=True)
            yield result

    def row(self, method: Method) -> dict[str, Any]:
        """Times, memory and differences of one method."""
        scores = self.folder / f"{self.name}-{method.name}.pt"
        row: dict[str, Any] = {"method": method.name, "title": method.title}
        try:
            row |= self._one(
                method,
                *("--rounds", self.options.rounds, "--limit", self.options.limit),
                *("--plain-batch", self.plain_batch, "--scores", scores),
                # A peer's limit is for one question; searches for batch size and extent come on
                # top, and a single call can't be cut short from within.
                timeout=None if method.own else 20 * self.options.limit + 600,
            )
        except ProcessFailed as failure:
            return row | {
                "questions": {question: {"error": str(failure)} for question in QUESTIONS}
            }
        for question, found in row["questions"].items():
            if "ratio" in found:
                found["memory"] = self._memory(method, question, row)
        if row["N"] != row["N of the workload"]:
            row["headwater there"] = self._headwater_at(row["N"])
        found = torch.load(scores) if scores.exists() else {}
        if method is HEADWATER:
            if row.get("from autograd", 0.0) > TOLERANCE:
                raise SystemExit(f"{self.name}: headwater's scores are off: {_line(row)}")
            self.expected = found
        else:
            row["difference"] = {
                question: asdict(difference(found[question], expected))
                for question, expected in self.expected.items()
                if question in found
            }
            if row["covers"] is not None and ALL_SCORES in found:
                covered = reference(
                    case(self.workload, training=self.options.examples), row["covers"]
                )
                row["over what it covers"] = asdict(difference(found[ALL_SCORES], covered))
        return row

    def _headwater_at(self, count: int) -> dict[str, float]:
        """Ratios of headwater on the first so many examples.

        What a call costs once, and the queries, weigh more there than at full size, for every
        method: a multiple of the ratio at full size would compare two different things.
        """
        if count not in self._headwater:
            found = self._one(
                HEADWATER,
                *("--rounds", self.options.rounds, "--plain-batch", self.plain_batch),
                *("--examples", count),
            )
            self._headwater[count] = {
                question: times["ratio"]
                for question, times in found["questions"].items()
                if "ratio" in times
            }
        return self._headwater[count]

    def _memory(self, method: Method, question: str, row: dict[str, Any]) -> dict[str, Any]:
        count = ["--examples", row["N"]]
        batch = [] if row["batch"] is None else ["--batch", row["batch"]]
        try:
            found = self._one(method, "--memory", question, *batch, *count)
            if (question, row["N"]) not in self._plain_memory:
                plain = self._one(PLAIN, "--memory", question, "--batch", self.plain_batch, *count)
                self._plain_memory[question, row["N"]] = plain["peak"]
        except ProcessFailed as failure:
            return {"error": str(failure)}
        return found | {"plain": self._plain_memory[question, row["N"]]}

    def _one(self, method: Method, *arguments: object, **options: Any) -> dict[str, Any]:
        if self.options.examples is not None and "--examples" not in arguments:
            arguments = (*arguments, "--examples", self.options.examples)
        return one(self.name, method.name, *arguments, threads=self.options.threads, **options)


def _line(row: dict[str, Any]) -> str:
    said = [f"{row['method']:20} N {row.get('N', '-')}, batch {row.get('batch') or '-'}"]
    for question, found in row["questions"].items():
        if "ratio" not in found:
            said.append(f"{question}: {found.get('error', 'not offered')}")
            continue
        said.append(f"{question} {found['ratio']:.2f} ({memory(found['memory'])})")
    apart = row.get("difference", {})
    said += [f"{question} differ by {d['largest']:.1e}" for question, d in apart.items()]
    if "over what it covers" in row:
        said.append(f"over what it covers {row['over what it covers']['largest']:.1e}")
    return "; ".join(said)


def merged(earlier: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """The rows of now, and earlier ones of other methods if measured with the same on the same."""

    def apart_from_the_day(result: dict[str, Any]) -> dict[str, Any]:
        facts = {key: fact for key, fact in result["header"].items() if key != "measured"}
        return {"facts": facts, "workload": result["workload"]}

    if earlier is None or apart_from_the_day(earlier) != apart_from_the_day(now):
        return now
    rows = {row["method"]: row for row in [*earlier["rows"], *now["rows"]]}
    return now | {"rows": [rows[name] for name in METHODS if name in rows]}


def markdown(results: dict[str, Any]) -> str:
    """All workloads' sections, under what they were measured with."""
    parts: list[str] = []
    said = None
    for name in sorted(results):
        if results[name]["header"] != said:
            said = results[name]["header"]
            parts.append(facts(said))
        parts.append(workload_section(name, results[name]))
    return "\n\n".join(parts)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("workloads", nargs="*", default=list(WORKLOADS))
    arguments.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--examples", type=int, default=None)
    arguments.add_argument("--limit", type=float, default=60.0)
    arguments.add_argument("--json", type=Path, default=None)
    arguments.add_argument("--markdown", type=Path, default=None)
    arguments.add_argument("--place", default=PLACE, help="the place in that page")
    options = arguments.parse_args()
    unknown = [name for name in options.workloads if name not in WORKLOADS]
    if unknown:
        arguments.error(f"no such workload: {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    chosen = [HEADWATER] + [METHODS[name] for name in options.methods if name != HEADWATER.name]
    for method in chosen:
        if not method.installed:
            print(f"{method.title}: {method.package} isn't installed, and is left out")
    results = page.load(options.json)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.workloads:
            methods = [m for m in chosen if m.installed and m.is_for(WORKLOADS[name])]
            earlier = results.get(name)
            for now in Comparison(name, options, Path(folder)).results(methods):
                results[name] = merged(earlier, now)
                if options.json is not None:
                    page.write_json(options.json, results)
                if options.markdown is not None:
                    page.put(options.markdown, options.place, markdown(results))
    if options.markdown is None:
        print(markdown(results))


if __name__ == "__main__":
    main()
