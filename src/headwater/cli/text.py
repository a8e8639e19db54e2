"""Tables and numbers as text that fits a terminal of 80 columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 80
# An id may be a path; its end tells more than its beginning.
_LONGEST_CELL = 32


def aligned(columns: Mapping[str, Sequence[Any]], *, indent: int = 2) -> str:
    """A table with a line of headings; numbers stand right, texts left."""
    cells = {name: _cells(column) for name, column in columns.items()}
    lines = ["" for _ in range(1 + max(map(len, cells.values()), default=0))]
    for name, texts in cells.items():
        width = max(len(text) for text in (name, *texts))
        right = all(not isinstance(value, str) for value in columns[name])
        for place, text in enumerate((name, *texts)):
            lines[place] += "  " + (text.rjust(width) if right else text.ljust(width))
    return "\n".join(" " * max(0, indent - 2) + line.rstrip() for line in lines)


def wrapped(text: str, *, indent: int = 0) -> str:
    """A paragraph, in lines of at most 80 characters."""
    space = " " * indent
    return textwrap.fill(text, WIDTH, initial_indent=space, subsequent_indent=space)


def nbytes(count: float) -> str:
    """A number of bytes in the unit that fits."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def duration(seconds: float) -> str:
    """A duration, as exactly as a prediction deserves."""
    if seconds < 1:
        return "under a second"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number of things, in words."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def _cells(column: Sequence[Any]) -> list[str]:
    numbers = [x for x in column if isinstance(x, float) and not math.isnan(x)]
    # Whole numbers of which one is missing somewhere, such as classes, come as floats.
    whole = all(x.is_integer() for x in numbers)
    # A plus only where there are minuses to tell from; zeros at the end are digits, too.
    form = ".0f" if whole else f"{'+' if min(numbers, default=0) < 0 else ''}#.4g"
    return [
        _text(x) if not isinstance(x, float) else "" if math.isnan(x) else f"{x:{form}}".rstrip(".")
        for x in column
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value) if value is not None else ""
    return text if len(text) <= _LONGEST_CELL else f"...{text[3 - _LONGEST_CELL :]}"
