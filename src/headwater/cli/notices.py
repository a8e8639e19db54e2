"""Warnings and log messages as a user of the terminal wants them: one line each, on stderr."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from tqdm.auto import tqdm

from headwater.errors import HeadwaterWarning

if TYPE_CHECKING:
    from collections.abc import Iterator


class _OnStderr(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = f"Note: {record.getMessage().removeprefix('headwater: ')}"
        # What several passes find out one after the other is news once.
        if message not in self._said:
            self._said.add(message)
            say(message)


def say(message: str) -> None:
    """Writes a line to stderr, above a progress bar if there is one."""
    tqdm.write(message, file=sys.stderr)


@contextmanager
def notices_on_stderr() -> Iterator[None]:
    """Within, our warnings and log messages are lines that begin with 'Note:'."""
    logger, handler = logging.getLogger("headwater"), _OnStderr(logging.WARNING)
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            shown = warnings.showwarning

            def show(
                message: Warning | str,
                category: type[Warning],
                filename: str,
                lineno: int,
                file: TextIO | None = None,
                line: str | None = None,
            ) -> None:
                if issubclass(category, HeadwaterWarning):
                    say(f"Note: {message}")
                else:
                    shown(message, category, filename, lineno, file, line)

            warnings.filterwarnings("default", category=HeadwaterWarning)
            warnings.showwarning = show
            yield
    finally:
        logger.removeHandler(handler)
