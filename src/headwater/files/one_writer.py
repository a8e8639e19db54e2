"""Folders that one process at a time writes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from pathlib import Path


def lock_for_writing(path: Path) -> FileLock:
    """The lock at a path, taken; its folder is made.

    Raises:
        filelock.Timeout: another process has it. It is an OSError too: catch it first.
        OSError: the folder can't be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    lock.acquire(timeout=0)
    return lock
