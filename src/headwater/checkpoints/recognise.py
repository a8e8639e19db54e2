"""Telling a checkpoint file from any other file, by what is in it."""

from __future__ import annotations

import zipfile
from pathlib import Path

_ZIP_MAGIC = b"PK\x03\x04"
# The number 0x1950a86a20f9469cfc6c that torch's older format begins with, as pickle writes it.
_LEGACY_MAGIC = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_PICKLED_DATA = "data.pkl"


def is_checkpoint_file(path: Path) -> bool:
    """Whether `torch.save` wrote the file (either format), or it is called `.safetensors`.

    A `torch.save` file that was cut off counts: it is to be reported, not left out.
    """
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(_ZIP_MAGIC):
        return _holds_pickled_data(path, head)
    return _LEGACY_MAGIC in head[:32]


def is_torchscript(path: Path) -> bool:
    """Whether the file is an archive of `torch.jit.save`, which holds code."""
    members = _members(path)
    return members is not None and any(m.endswith("/constants.pkl") for m in members)


def is_pickle_or_zip(path: Path) -> bool:
    """Whether the file begins like a zip archive or like a binary pickle."""
    with path.open("rb") as file:
        head = file.read(4)
    return head == _ZIP_MAGIC or head.startswith(b"\x80")


def _holds_pickled_data(path: Path, head: bytes) -> bool:
    members = _members(path)
    if members is None:
        # Cut off: the index at the end is gone, but the first member's name still stands in its
        # own header (length at byte 26, name from byte 30), and torch writes data.pkl first.
        length = int.from_bytes(head[26:28], "little")
        return head[30 : 30 + length].endswith(_PICKLED_DATA.encode())
    return any(member.endswith(_PICKLED_DATA) for member in members)


def _members(path: Path) -> list[str] | None:
    """The names in a zip archive; None if the file isn't a whole one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return None
