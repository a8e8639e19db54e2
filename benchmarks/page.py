"""Files that results are written to: JSON that grows by parts, and a page with marked places."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str) -> None:
    """The file is whole at any time: a run of hours may be cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def load(path: Path | None) -> dict[str, Any]:
    """What an earlier run wrote; nothing if there was none."""
    if path is None or not path.exists():
        return {}
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def write_json(path: Path, results: dict[str, Any]) -> None:
    write(path, json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def put(path: Path, place: str, text: str) -> None:
    """Replace what stands between the marks of a place; a new page has just that place.

    Raises:
        ValueError: the page has no such place.
    """
    begin, end = f"<!-- {place}: begin -->", f"<!-- {place}: end -->"
    page = path.read_text() if path.exists() else f"{begin}\n{end}\n"
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"{path} has no place marked by {begin} and {end}")
    write(path, f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")
