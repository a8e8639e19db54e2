"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def give_back() -> None:
    """Has the C library give back what it holds of freed memory; does nothing where it can't.

    glibc keeps freed blocks for the next ones. Parameters that are gathered layer by layer leave it
    with more than twice of what is in use at a time. No setting of the process is changed by this.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], Any] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        found: Callable[[int], Any] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        # Another C library.
        return None
    return found
