"""Processes for tests that kill them.

They are forked from one that nothing but headwater was imported into: threads that libraries of
other tests have started would not live on in a child, and what they had locked would stay locked.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from typing import Any

import torch

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "tests.store.changes",
        "tests.recording.endless",
        "tests.evaluation.building",
    ]
)


class Started:
    """A process that does an operation and says, on a pipe, how far it is.

    Args:
        operation: `operation(say, *args)`, a function of a module.
        args: what it is given.
    """

    def __init__(self, operation: Callable[..., object], *args: Any) -> None:
        self._hearing, saying = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_do, args=(operation, saying, args))
        self._process.start()
        saying.close()

    def hear(self) -> None:
        """Returns when the operation has said something once more."""
        self._hearing.recv_bytes()

    def end(self) -> None:
        """Returns when the operation has ended."""
        self._process.join()
        self._hearing.close()

    def kill(self) -> bool:
        """Kills it; whether it was still running."""
        self._process.kill()
        self.end()
        return self._process.exitcode == -signal.SIGKILL


def _do(operation: Callable[..., object], saying: Any, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    operation(lambda: saying.send_bytes(b"!"), *args)
