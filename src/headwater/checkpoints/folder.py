"""The checkpoint files of a folder, in natural order."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from headwater.checkpoints.recognise import is_checkpoint_file
from headwater.errors import CheckpointError, HeadwaterWarning, NoCheckpointsError

_TEMPORARY = ".tmp"
_COMPANIONS = frozenset(
    {".txt", ".md", ".json", ".csv", ".yaml", ".yml", ".log", ".py", ".html", ".png"}
)
_NAMES_SHOWN = 5


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """A sort key that reads digits as numbers: `ckpt-2` comes before `ckpt-10`."""
    pieces = re.split(r"([0-9]+)", name)
    # Odd places hold the digits, so text is never compared with a number.
    # The name itself decides between `ckpt-2` and `ckpt-02`.
    return tuple(int(p) if i % 2 else p for i, p in enumerate(pieces)), name


def checkpoint_files(folder: Path, any_format: bool) -> list[Path]:
    """The checkpoint files directly in a folder, in natural order.

    Subfolders, hidden files and `*.tmp` (files that were still being written) are never taken;
    links to files are followed. What was not taken is said in one warning, except that hidden
    files alone are not worth one.

    Args:
        folder: the folder.
        any_format: False takes what the default loader reads, recognised by content: files of
            `torch.save` in either format, and `.safetensors`. True is for a loader of the user's
            own and takes every other file too, except these companions of checkpoints:
            .txt .md .json .csv .yaml .yml .log .py .html .png

    Raises:
        NoCheckpointsError: nothing in the folder is a checkpoint.
        CheckpointError: the folder or a file in it can't be read.
    """
    taken: list[Path] = []
    skipped: list[str] = []
    hidden = 0
    try:
        for path in sorted(folder.iterdir(), key=lambda p: natural_key(p.name)):
            if path.name.startswith("."):
                hidden += 1
            elif path.is_file() and _is_taken(path, any_format):
                taken.append(path)
            else:
                skipped.append(f"{path.name}/" if path.is_dir() else path.name)
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint folder {folder} can't be read ({error}); make its files readable, "
            "or pass a list of checkpoint files"
        ) from error
    if not taken:
        raise NoCheckpointsError(
            f"no checkpoint in the folder {folder}: it holds {_listing(skipped, hidden)}; expected "
            f"{_expectation(any_format)} directly in it (pass a list for anything else)"
        )
    if skipped:
        warnings.warn(
            f"{len(taken)} checkpoint{'' if len(taken) == 1 else 's'} taken from the folder "
            f"{folder}, and skipped: {_listing(skipped, hidden)}; pass a list of files to choose "
            f"them yourself",
            HeadwaterWarning,
            stacklevel=2,
        )
    return taken


def _is_taken(path: Path, any_format: bool) -> bool:
    suffix = path.suffix.lower()
    if suffix == _TEMPORARY:
        return False
    return suffix not in _COMPANIONS if any_format else is_checkpoint_file(path)


def _expectation(any_format: bool) -> str:
    if any_format:
        return "files that are no text, tables, logs or pictures"
    return "files written by torch.save, or .safetensors files,"


def _listing(names: list[str], hidden: int) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    if len(names) > _NAMES_SHOWN:
        shown += f", ... and {len(names) - _NAMES_SHOWN} more"
    if hidden:
        shown += f"{' and ' if shown else ''}{hidden} hidden file{'s' if hidden > 1 else ''}"
    return shown or "nothing"
