"""Values inside a script element, from which nothing in them can break out."""

from __future__ import annotations

import json
from typing import Any

# What could end the element or begin a comment in HTML, and what ends a line in JavaScript.
_ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


def embedded_json(value: Any) -> str:
    """A value as JSON that may stand in a script element.

    Raises:
        ValueError: it has a number that isn't finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # These marks stand only in strings, where an escape means the same.
    return text.translate(_ESCAPES)
