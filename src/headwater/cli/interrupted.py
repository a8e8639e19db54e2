"""Ctrl-C: what is left, and how to go on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOTHING_HALF_WRITTEN = "No file is left half-written; the same command begins anew."


class Interrupted(KeyboardInterrupt):
    """An interruption, with what the user can do about it.

    Attributes:
        advice: a sentence or two.
    """

    def __init__(self, advice: str) -> None:
        super().__init__(advice)
        self.advice = advice


@contextmanager
def advising(advice: Callable[[], str]) -> Iterator[None]:
    """Within, an interruption says what is left and how to go on.

    Args:
        advice: found out when it is needed.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(advice()) from error
