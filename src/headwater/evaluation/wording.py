"""Lists as sentences have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def in_words(parts: Sequence[str]) -> str:
    """The parts with commas, and "and" before the last."""
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last
