"""Showing an answer: as text for a person, as JSON for a script, and as a file."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.notices import say
from headwater.cli.output_file import write
from headwater.cli.text import aligned, counted, wrapped

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.results import Meaning, Scores, TopScores

# What a screen holds; the rest is for files and scripts.
_ROWS_SHOWN = 20
_QUERIES_SHOWN = 5


def show_top(top: TopScores, *, out: Path | None, as_json: bool) -> None:
    """Shows the strongest training examples, and writes them where that was asked for."""
    if out is not None:
        write(top, out)
    if as_json:
        show_json({"meaning": top.meaning.as_dict(), "rows": list(top)})
    elif top.meaning.quantity == "self_influence":
        _show_suspects(top, out)
    else:
        _show_queries(top, out)
    if out is not None:
        say(f"Wrote {counted(len(top), 'row')} to {out}")


def write_all(scores: Scores, out: Path) -> None:
    """Writes all scores, of which none are shown."""
    write(scores, out)
    say(f"Wrote all scores to {out}, one row per training example")


def show_json(value: Any) -> None:
    """Writes a value to stdout as JSON, for a script to read."""
    click.echo(json.dumps(value, indent=2))


def headline(meaning: Meaning) -> str:
    """A line or two on what computed the scores, and of what."""
    facts = meaning.estimator
    parts = [str(facts["name"])]
    if "examples" in facts:
        parts.append(counted(facts["examples"], "training example"))
    if "checkpoints" in facts:
        parts.append(counted(facts["checkpoints"], "checkpoint"))
    if "parameters" in facts:
        parts.append(counted(facts["parameters"], "parameter"))
    return wrapped(", ".join([*parts, *meaning.steps]))


def _show_suspects(top: TopScores, out: Path | None) -> None:
    rows = list(top)
    click.echo(f"{headline(top.meaning)}\n")
    click.echo(aligned(_columns(rows[:_ROWS_SHOWN])))
    _show_rest(len(rows) - _ROWS_SHOWN, "row", out)
    click.echo("\n" + wrapped(f"Self-influence is {top.meaning.sign}."))


def _show_queries(top: TopScores, out: Path | None) -> None:
    click.echo(headline(top.meaning))
    about = [name for name in top.table() if name.startswith("query")]
    groups = [
        (key, list(rows))
        for key, rows in itertools.groupby(top, key=lambda row: [row[name] for name in about])
    ]
    for key, rows in groups[:_QUERIES_SHOWN]:
        click.echo(f"\n{_query_heading(about, key)}")
        shown = [{k: v for k, v in row.items() if k not in about} for row in rows]
        click.echo(aligned(_columns(shown)))
    _show_rest(len(groups) - _QUERIES_SHOWN, "query", out)
    click.echo("\n" + wrapped(f"{top.meaning.sign[0].upper()}{top.meaning.sign[1:]}."))


def _query_heading(about: list[str], key: list[Any]) -> str:
    first, *others = zip(about, key, strict=True)
    facts = ", ".join(f"{name.removeprefix('query_')} {value}" for name, value in others)
    name = first[0].removeprefix("query_") if first[0] != "query" else "query"
    heading = "All queries together" if first == ("query", "all") else f"{name} {first[1]}"
    heading = heading[0].upper() + heading[1:]
    return f"{heading} ({facts})" if facts else heading


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns for a screen: an id that is the place again is said once."""
    columns: dict[str, list[Any]] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        if name == "index" and values == columns.get("id"):
            continue
        columns[name] = values
    return columns


def _show_rest(count: int, noun: str, out: Path | None) -> None:
    if count <= 0:
        return
    where = f"in {out}" if out is not None else "with --out FILE or --json"
    words = counted(count, f"more {noun}", "more queries" if noun == "query" else None)
    click.echo(f"\n  ... {words} {where}")
