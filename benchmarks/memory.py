"""How much memory something takes at its highest, beyond what the process held before."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(run: Callable[[], object]) -> int | None:
    """The growth of the resident memory to its peak while `run` runs; None where Linux isn't.

    What earlier work freed is given back first: the allocator would serve `run` from it unseen.
    """
    if not CLEAR.exists():
        return None
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # The C library is not always glibc.
    CLEAR.write_text("5")  # The peak becomes what is held now; see proc(5).
    before = _status("VmRSS")
    kept = run()
    grown = max(0, _status("VmHWM") - before)
    del kept
    return grown


def _status(key: str) -> int:
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
