"""A limit of time for what can't be cut short from within."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class TookTooLong(Exception):
    """The time is over. No error of headwater's, so that nothing takes it for one."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Within, what goes on after so many seconds is interrupted; in the main thread only.

    Raises:
        TookTooLong: at the next operation after the time was over.
    """

    def over(number: int, frame: Any) -> None:
        raise TookTooLong(f"took longer than {seconds:,.0f} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
