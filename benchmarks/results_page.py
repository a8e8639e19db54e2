"""The tables of the results page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# A method's setting that isn't one of those tried.
AS_IT_COMES = "as it comes"


def tables(results: dict[str, Any]) -> str:
    """All settings, one after the other."""
    return "\n\n".join(_setting(found) for found in results.values())


def _setting(found: dict[str, Any]) -> str:
    facts, header = found["setting"], found["header"]
    subsets, recipe = facts["subsets"], facts["recipe"]
    settings = "".join(f", {key} {value}" for key, value in recipe["settings"].items())
    ceilings = [
        row["ceiling"] for row in found["methods"].values() if row.get("ceiling") is not None
    ]
    margins = [
        row["ceiling_margin"]
        for row in found["methods"].values()
        if row.get("ceiling_margin") is not None
    ]
    ceiling = f"{ceilings[0]:.3f}" if ceilings else "unknown"
    if margins:
        ceiling += f" (margin: {margins[0]:.3f})"
    facts_line = (
        f"N = {facts['training']:,}, Q = {facts['queries']}, {facts['parameters']:,} parameters. "
        f"Trained for {recipe['epochs']} epochs in batches of {recipe['batch_size']} by "
        f"{recipe['optimizer']}, rate {recipe['learning_rate']:g}{settings}, "
        f"{recipe['schedule']}. {subsets['count']} subsets of {subsets['fraction']:g}, "
        f"{subsets['runs']} models each, {facts['at once']} at once; "
        f"{facts['checkpoints']} checkpoints. "
        f"**Noise ceiling of LDS: {ceiling}.**"
    )
    by_lds = _table(
        ["method", "LDS, loss", "LDS, margin", "leave-one-out", "time", "memory"],
        [
            [
                _title(row),
                _interval(row.get("lds")),
                _interval(row.get("lds_margin")),
                _number(row.get("leave_one_out")),
                _seconds(row.get("seconds")),
                _bytes(row.get("peak_bytes")),
            ]
            for row in _by_lds(found["methods"])
        ],
    )
    parts = [f"### {facts['says']}", facts_line, by_lds]
    wrong = [
        [
            # Of one model, where scores are averaged over several.
            row.get("title of wrong labels", row["title"]),
            _interval(row.get("uniform", {}).get("auroc")),
            _share(row.get("uniform", {}).get("found_at_20")),
            _interval(row.get("runner-up", {}).get("auroc")),
            _share(row.get("runner-up", {}).get("found_at_20")),
        ]
        for row in found["methods"].values()
        if "uniform" in row or "runner-up" in row
    ]
    if wrong:
        parts.append(
            f"10 % of the labels made wrong, {facts['seeds']} runs: AUROC of self-influence, and "
            f"the share of the wrong labels among the first 20 %."
        )
        head = ["method", "to any class", "found at 20 %", "to the runner-up", "found at 20 %"]
        parts.append(_table(head, wrong))
    failures = [
        f"- {_title(row)}: {row['failure']}"
        for row in found["methods"].values()
        if row.get("failure")
    ]
    if failures:
        parts.append("No figures:\n\n" + "\n".join(failures))
    parts.append("; ".join(f"{key} {value}" for key, value in header.items()) + ".")
    return "\n\n".join(parts)


def _by_lds(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    scored = [row for row in rows.values() if "lds" in row]
    return sorted(scored, key=lambda row: -row["lds"][0])


def _title(row: dict[str, Any]) -> str:
    chosen = row.get("chosen")
    return row["title"] if chosen in (None, AS_IT_COMES) else f"{row['title']} ({chosen})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # A column in which nothing was measured says nothing.
    kept = [place for place in range(len(head)) if any(row[place] for row in rows)]
    lines = [[head[place] for place in kept], ["---"] * len(kept)]
    lines += [[row[place] for place in kept] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _interval(found: Sequence[float] | None) -> str:
    if found is None:
        return ""
    value, low, high = found
    # NaN: a single run has no interval.
    return f"{value:.3f}" if low != low else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _share(found: Sequence[float] | None) -> str:
    return "" if found is None else f"{found[0]:.0%}"


def _number(found: float | None) -> str:
    return "" if found is None else f"{found:.3f}"


def _seconds(found: float | None) -> str:
    return "" if found is None else f"{found:.2f} s"


def _bytes(found: float | None) -> str:
    return "" if found is None else f"{found / 1e6:,.0f} MB"
