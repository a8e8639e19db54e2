"""Results as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.agreement import TOLERANCE
from benchmarks.answering import ALL_SCORES, QUESTIONS, SELF_INFLUENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; what stands in a cell can't end it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def facts(header: dict[str, Any]) -> str:
    """The header in one sentence."""
    rest = {key: fact for key, fact in header.items() if key != "measured"}
    said = ", ".join(f"{key} {fact}" for key, fact in rest.items())
    return f"Measured on {header['measured']} with {said}."


def number(value: float) -> str:
    """Two decimals where they say something, thousands apart where there are many."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def workload_section(name: str, result: dict[str, Any]) -> str:
    """A workload's heading, its times, its memory, and what is to be said of its scores."""
    says = result["workload"]
    own = result["rows"][0]
    parts = [
        f"### {name}: {says['says']}",
        f"N = {says['N']:,}, Q = {says['Q']:,}, C = {says['C']}.",
        "Time, in plain passes (lowest to highest round), and as a multiple of headwater's on the "
        "same examples:",
        table(
            ["method", "N", "batch", *QUESTIONS],
            [_time_row(row, own, says["N"]) for row in result["rows"]],
        ),
        "Peak memory, in MB and in plain passes' peaks:",
        table(["method", "N", *QUESTIONS], [_memory_row(row, says["N"]) for row in result["rows"]]),
        "Scores, their largest difference from headwater's over the largest of them (and the "
        "median query's):",
        table(
            ["method", ALL_SCORES, SELF_INFLUENCE, "remarks"],
            [_score_row(row) for row in result["rows"]],
        ),
    ]
    return "\n\n".join(parts)


def _count(row: dict[str, Any], total: int) -> str:
    count = row.get("N")
    if count is None:
        return "–"
    return "all" if count == total else f"first {count:,}"


def _time_row(row: dict[str, Any], own: dict[str, Any], total: int) -> list[str]:
    batch = row.get("batch", "–")
    batch = "own choice" if batch is None else str(batch)
    cells = [row["title"], _count(row, total), batch]
    return cells + [_time(row, own, question) for question in QUESTIONS]


def _time(row: dict[str, Any], own: dict[str, Any], question: str) -> str:
    found = row["questions"].get(question, {})
    if "ratio" not in found:
        return _absent(found)
    text = f"{number(found['ratio'])} ({number(found['from'])} to {number(found['to'])})"
    if found["rounds"] < 5:
        text += f", {found['rounds']} rounds" if found["rounds"] > 1 else ", 1 round"
    if row is own:
        return text
    there = row.get("headwater there")
    if there is not None and question in there:
        text += f"; × {number(found['ratio'] / there[question])} of {number(there[question])}"
    elif row["N"] == own.get("N") and "ratio" in own["questions"].get(question, {}):
        text += f"; × {number(found['ratio'] / own['questions'][question]['ratio'])}"
    return text


def _absent(found: dict[str, Any]) -> str:
    if "not offered" in found:
        return f"not offered: {found['not offered']}"
    return f"fails: {found.get('error', 'no answer')}"


def _memory_row(row: dict[str, Any], total: int) -> list[str]:
    return [row["title"], _count(row, total)] + [
        memory(row["questions"].get(question, {}).get("memory")) for question in QUESTIONS
    ]


def memory(found: dict[str, Any] | None) -> str:
    """A peak in MB and as a multiple of the plain pass's."""
    if found and "error" in found:
        return f"fails: {found['error']}"
    if not found or found.get("peak") is None:
        return "–"
    text = f"{number(found['peak'] / 2**20)} MB"
    if found.get("plain"):
        text += f", × {number(found['peak'] / found['plain'])}"
    if found.get("answer", 0) >= 2**20:
        text += f" ({number(found['answer'] / 2**20)} MB of it the answer)"
    return text


def _score_row(row: dict[str, Any]) -> list[str]:
    cells = [row["title"]]
    for question in (ALL_SCORES, SELF_INFLUENCE):
        found = row.get("difference", {}).get(question)
        cells.append(_apart(found) if found else "–")
    return [*cells, "; ".join(_remarks(row)) or "same scores"]


def _apart(found: dict[str, float]) -> str:
    return f"{found['largest']:.1e} ({found['median']:.1e})"


def _remarks(row: dict[str, Any]) -> list[str]:
    said = []
    if row.get("from autograd") is not None:
        said.append(f"{row['from autograd']:.1e} from an autograd loop in float64")
    if row.get("differs"):
        said.append(row["differs"])
        said += [
            f"{question} correlate by rank at {found['ranks']:.5f} ({found['least_ranks']:.5f})"
            for question, found in row.get("difference", {}).items()
            if "ranks" in found
        ]
    if row.get("over what it covers"):
        said.append(
            f"over the parameters it covers: {_apart(row['over what it covers'])} from headwater's"
        )
    apart = row.get("difference", {}).values()
    if not row.get("differs") and any(found["largest"] > TOLERANCE for found in apart):
        if all(found["median"] <= TOLERANCE for found in apart):
            said.append(f"more than {TOLERANCE:g} for single examples, not for the median one")
        else:
            said.append(f"unexplained: more than {TOLERANCE:g}")
    if row.get("top and all", {}).get("largest", 0.0) > TOLERANCE:
        said.append("its top scores aren't its highest scores")
    if not row.get("difference") and row.get("from autograd") is None:
        said.append("no scores")
    return said
