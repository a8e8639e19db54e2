"""The memory that this process may still take: of the machine, of its container, of its limits."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")
_OF_THIS_PROCESS = Path("/proc/self/cgroup")
_NEW_NAMES = ("memory.max", "memory.current")
_OLD_NAMES = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def available_bytes() -> int:
    """Bytes that can be allocated before the machine, a container or a limit says no.

    Batch systems such as SLURM, and containers, give a job a part of the machine's memory, which
    the machine itself knows nothing of.
    """
    free = [int(psutil.virtual_memory().available), *_below_limits(), *_below_groups()]
    return max(1, min(free))


def _below_limits() -> Iterator[int]:
    """What is left below each limit of the process's own (`ulimit -v`, `ulimit -d`)."""
    if sys.platform == "win32":
        return
    import resource

    used = psutil.Process().memory_info()
    for limit, name in ((resource.RLIMIT_AS, "vms"), (resource.RLIMIT_DATA, "data")):
        soft, _ = resource.getrlimit(limit)
        taken = getattr(used, name, None)
        if soft != resource.RLIM_INFINITY and taken is not None:
            yield soft - taken


def _below_groups() -> Iterator[int]:
    """What is left in each control group that the process is in, of either version of them."""
    try:
        lines = _OF_THIS_PROCESS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            root, (limit, usage) = _GROUPS, _NEW_NAMES
        elif "memory" in controllers.split(","):
            root, (limit, usage) = _GROUPS / "memory", _OLD_NAMES
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            most, taken = _number(folder / limit), _number(folder / usage)
            if most is not None and taken is not None:
                yield most - taken + _given_back(folder)
            if folder == root:
                break


def _given_back(folder: Path) -> int:
    """What is counted as used and is given back when it is needed: files that were read."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    told = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return int(told.get("total_inactive_file", told.get("inactive_file", 0)))


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none, or it is "max"."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
