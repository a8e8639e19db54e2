"""An exception in the user's words: the place in their code, the line, and what it says."""

from __future__ import annotations

import linecache
import os
import site
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from traceback import FrameSummary

_ELSEWHERE: list[str] = [
    str(Path(__file__).parents[2]),
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("platstdlib"),
    *site.getsitepackages(),
    site.getusersitepackages(),
]
_NOT_THEIRS = tuple(str(Path(place).resolve()) + os.sep for place in _ELSEWHERE)


def in_users_words(error: BaseException, *, only_theirs: bool = False) -> str:
    """What an exception says, after the innermost line of the user's own code that led to it.

    Args:
        error: the exception.
        only_theirs: whether to return an empty text if none of their code did.
    """
    frame = _users_frame(error)
    if frame is None and only_theirs:
        return ""
    said = str(error).strip()
    message = said if isinstance(error, HeadwaterError) else f"{type(error).__name__}: {said}"
    if frame is not None and not isinstance(error, HeadwaterError):
        message = f"{shown(frame)}\n{message}"
    notes = [str(note) for note in getattr(error, "__notes__", [])]
    return "\n".join([message, *notes])


def syntax_error(error: SyntaxError) -> str:
    """Where in the user's code Python can't go on, and why."""
    place = f"{shown_path(error.filename or '?')}, line {error.lineno}: {error.msg}"
    text = (error.text or "").rstrip("\n")
    if not text.strip():
        return place
    line = text.lstrip()
    caret = max(0, (error.offset or 1) - 1 - (len(text) - len(line)))
    return f"{place}\n    {line}\n    {' ' * caret}^"


def shown(frame: FrameSummary) -> str:
    """A frame as a place, and the line of code there."""
    where = "" if frame.name == "<module>" else f", in {frame.name}"
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    place = f"{shown_path(frame.filename)}, line {frame.lineno}{where}:"
    return f"{place}\n    {line}" if line else place


def shown_path(path: str | Path) -> str:
    """A path from here, where that is shorter."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _users_frame(error: BaseException) -> FrameSummary | None:
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame for frame in reversed(frames) if _is_theirs(frame.filename)), None)


def _is_theirs(filename: str) -> bool:
    if filename.startswith("<"):
        return False
    return not str(Path(filename).resolve()).startswith(_NOT_THEIRS)
