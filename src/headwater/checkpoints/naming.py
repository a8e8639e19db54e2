"""What a checkpoint is called: shortly in results, fully in messages."""

from __future__ import annotations

import os
from pathlib import Path


def short_name(checkpoint: object, index: int) -> str:
    """The file's name, or 'checkpoint 3' for the one at index 3 that is no file."""
    path = _path(checkpoint)
    return (path.name if path is not None else "") or f"checkpoint {index}"


def full_name(checkpoint: object, index: int | None = None) -> str:
    """The file's path as it was given, or 'checkpoint 3', or 'in memory' if it has no index."""
    path = _path(checkpoint)
    if path is not None:
        return f"checkpoint {path}"
    return "the checkpoint in memory" if index is None else f"checkpoint {index}"


def _path(checkpoint: object) -> Path | None:
    # A (path, rate) pair is called like its path.
    if isinstance(checkpoint, tuple) and len(checkpoint) == 2:
        checkpoint = checkpoint[0]
    if isinstance(checkpoint, str | os.PathLike):
        text = os.fspath(checkpoint)
        return Path(text) if isinstance(text, str) else None
    return None
