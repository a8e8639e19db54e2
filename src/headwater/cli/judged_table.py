"""Tables of judged methods: for a screen, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.answers import show_json
from headwater.cli.notices import say
from headwater.cli.output_file import refuse_unwritable
from headwater.cli.text import aligned, wrapped
from headwater.files import replacing

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".md", ".csv", ".json")


def parsed_table(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """The callback of `--out`.

    Raises:
        click.BadParameter: the name doesn't say a format that is known.
    """
    if value is not None and value.suffix not in SUFFIXES:
        raise click.BadParameter(f"{str(value)!r} ends in none of {', '.join(SUFFIXES)}")
    refuse_unwritable(value)
    return value


class JudgedTable:
    """A row per method.

    Args:
        title: what was judged, a sentence.
        rows: by column; the same columns in every row.
        notes: what the numbers are, sentences.
    """

    def __init__(self, title: str, rows: list[dict[str, Any]], notes: list[str]) -> None:
        self.title = title
        self.rows = rows
        self.notes = notes

    def show(self, *, out: Path | None, as_json: bool) -> None:
        """Prints it, and writes it where that was asked for."""
        if as_json:
            show_json(self.as_dict())
        else:
            click.echo(wrapped(self.title) + "\n")
            columns = list(self.rows[0]) if self.rows else []
            click.echo(aligned({name: [row[name] for row in self.rows] for name in columns}))
            for note in self.notes:
                click.echo("\n" + wrapped(note))
        if out is not None:
            with replacing(out) as temporary:
                temporary.write_text(self._text(out.suffix), encoding="utf-8")
            say(f"Wrote {out}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON, in which there is no NaN."""
        rows = [
            {
                key: None if isinstance(value, float) and math.isnan(value) else value
                for key, value in row.items()
            }
            for row in self.rows
        ]
        return {"judged": self.title, "rows": rows, "notes": self.notes}

    def markdown(self) -> str:
        """A table between its title and its notes."""
        names = list(self.rows[0]) if self.rows else []
        lines = [f"| {' | '.join(names)} |", f"| {' | '.join('---' for _ in names)} |"]
        lines += [f"| {' | '.join(_cell(row[name]) for name in names)} |" for row in self.rows]
        return "\n\n".join([self.title, "\n".join(lines), *self.notes]) + "\n"

    def _text(self, suffix: str) -> str:
        if suffix == ".md":
            return self.markdown()
        if suffix == ".json":
            return json.dumps(self.as_dict(), indent=1) + "\n"
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]) if self.rows else [])
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3f}"
    return str(value).replace("|", "\\|").replace("\n", " ")
