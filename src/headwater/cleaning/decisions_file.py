"""The file of decisions, as JSON and as CSV: see docs/cleaning.md."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from headwater.errors import DecisionsError
from headwater.files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FORMAT = "headwater-decisions"
VERSION = 1
COLUMNS = ("index", "id", "decision", "label")

Rows = list[tuple[str, dict[str, Any]]]


def read(path: Path) -> tuple[str | None, Rows]:
    """The fingerprint of the data, and by place in the file what each decision says.

    Raises:
        DecisionsError: it isn't a file of decisions, or of a newer version.
    """
    try:
        # Spreadsheets begin a file of UTF-8 with a mark of their own.
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DecisionsError(f"there is no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DecisionsError(f"{path} can't be read as a text: {error}") from error
    return (
        (None, _from_csv(path, text)) if path.suffix.lower() == ".csv" else _from_json(path, text)
    )


def write(path: Path, rows: Sequence[Mapping[str, Any]], *, data: str | None) -> None:
    """Writes the decisions, by the file's name as CSV or JSON; whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        if path.suffix.lower() == ".csv":
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows([row[name] for name in COLUMNS] for row in rows)
        else:
            content = {"format": FORMAT, "version": VERSION, "data": data, "decisions": list(rows)}
            json.dump(content, file, indent=1, ensure_ascii=False)
            file.write("\n")


def _from_json(path: Path, text: str) -> tuple[str | None, Rows]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DecisionsError(f"{path} isn't JSON (nor is it called *.csv): {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DecisionsError(
            f'{path} isn\'t a file of decisions: expected an object with "format": "{FORMAT}"'
        )
    version = content.get("version")
    if version != VERSION:
        raise DecisionsError(
            f"{path} is of version {version!r}, and this headwater reads version {VERSION}"
        )
    data, rows = content.get("data"), content.get("decisions")
    if data is not None and not isinstance(data, str):
        raise DecisionsError(f'{path}: "data" is {data!r}; expected a fingerprint, or null')
    if not isinstance(rows, list):
        raise DecisionsError(f'{path}: "decisions" is a {type(rows).__name__}; expected a list')
    return data, [_row(f"{path}, decision {place}", row) for place, row in enumerate(rows)]


def _row(place: str, row: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(row, dict):
        raise DecisionsError(f"{place} is a {type(row).__name__}; expected an object")
    missing = [name for name in ("index", "decision") if name not in row]
    unknown = [name for name in row if name not in COLUMNS]
    if missing or unknown:
        what = f"has no {missing[0]!r}" if missing else f"has an unknown entry {unknown[0]!r}"
        raise DecisionsError(f"{place} {what}; expected {', '.join(COLUMNS)}")
    return place, row


def _from_csv(path: Path, text: str) -> Rows:
    lines = csv.reader(io.StringIO(text, newline=""))
    header = next(lines, [])
    missing = [name for name in ("index", "decision") if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if missing or unknown:
        what = f"no column {missing[0]!r}" if missing else f"an unknown column {unknown[0]!r}"
        raise DecisionsError(f"{path} has {what}; expected the columns {','.join(COLUMNS)}")
    rows: Rows = []
    for cells in lines:
        place = f"{path}, line {lines.line_num}"
        if not cells:
            continue
        if len(cells) != len(header):
            raise DecisionsError(f"{place} has {len(cells)} cells; the header has {len(header)}")
        row: dict[str, Any] = dict(zip(header, cells, strict=True))
        try:
            row["index"] = int(row["index"])
        except ValueError as error:
            raise DecisionsError(
                f"{place} has the index {row['index']!r}; expected a whole number"
            ) from error
        for name in ("id", "label"):
            row[name] = _value(row.get(name, ""))
        rows.append((place, row))
    return rows


def _value(cell: str) -> int | str | None:
    """A cell as JSON would have it: CSV doesn't tell numbers from texts, nor an absent one."""
    if not cell:
        return None
    try:
        number = int(cell)
    except ValueError:
        return cell
    # "007" is a name and not a number.
    return number if str(number) == cell else cell
