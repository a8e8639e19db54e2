"""Files that are whole or absent under their own name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` if the block succeeds, and vanishes if not."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes, *, unfinished: Path) -> None:
    """Writes a file that outlives a crash of the machine, or leaves nothing.

    Args:
        path: of the file.
        data: its bytes.
        unfinished: where they are until all are on disk; on the same file system.

    Raises:
        OSError: it can't be written.
    """
    try:
        unfinished.write_bytes(data)
        put_in_place(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def put_in_place(unfinished: Path, path: Path) -> None:
    """Syncs a file that is written to the disk, and gives it its name in one step.

    Raises:
        OSError: that can't be done.
    """
    # Open for writing: not every system syncs what is open for reading alone.
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # A rename is on disk only once the folder is. Windows has no such call, and needs none.
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
