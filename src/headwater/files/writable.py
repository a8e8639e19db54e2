"""Whether a file could be written in the end, found out before there is something to write."""

from __future__ import annotations

import os
from pathlib import Path

from headwater.errors import InputError


def refuse_unwritable(path: Path) -> None:
    """Refuses a file that could not be written, even after its folders were made.

    Args:
        path: the file's.

    Raises:
        InputError: it is a folder, or what its folders would be made in takes no files.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file")
    there = next(folder for folder in path.resolve().parents if folder.exists())
    if not there.is_dir():
        raise InputError(f"{path}: {there} is a file, and no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{path}: nothing can be written to the folder {there}")
