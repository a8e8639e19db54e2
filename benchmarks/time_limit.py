"""A limit of time for what can't be cut short from within."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headwater.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headwater.evaluation import Method


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


def limited(method: Method, seconds: float) -> Method:
    """The method, which fails where its answer takes longer."""

    def make(run: Any) -> Any:
        return _Limited(method.make(run), seconds)

    return replace(method, make=make)


@dataclass(frozen=True)
class _Limited:
    estimator: Any
    seconds: float

    def influence(self, *args: Any, **kwargs: Any) -> Any:
        """As of the estimator; raises InputError where that takes too long."""
        try:
            with within(self.seconds):
                return self.estimator.influence(*args, **kwargs)
        except TookTooLong as error:
            # As whoever judges methods expects it of one that can't answer.
            raise InputError(f"self-influence {error}") from error
