"""What a pass over all training examples will take, measured on a few of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from types import TracebackType

# Long enough for the clock, and for what is done once per pass not to hide what is done per batch.
_LONG_ENOUGH = 0.5
_FEWEST = 32
_GROWTH = 4
# Between two looks at the memory that the process has.
_INTERVAL = 0.005


@dataclass(frozen=True)
class Cost:
    """A pass's cost, as far as a few examples tell.

    Attributes:
        seconds: of the whole pass.
        nbytes: how much more memory the process took at most, beyond the result.
        measured_on: how many examples it was measured on.
    """

    seconds: float
    nbytes: int
    measured_on: int


def measured_cost(run: Callable[[int], object], count: int) -> Cost:
    """The cost of `run(count)`, from runs on fewer examples.

    What is done once, such as loading checkpoints and the gradients of queries, is told from what
    is done per example by runs on different numbers of them.

    Args:
        run: a pass over that many training examples.
        count: how many there are, N.
    """
    size, before = min(count, _FEWEST), (0, 0.0)
    with _Peak() as peak:
        # What is done once per process, such as choosing algorithms, is no part of a pass.
        run(size)
        while True:
            start = time.perf_counter()
            run(size)
            taken = time.perf_counter() - start
            if taken >= _LONG_ENOUGH or size == count:
                break
            before = (size, taken)
            size = min(count, _GROWTH * size)
    each = max(0.0, taken - before[1]) / max(1, size - before[0])
    return Cost(taken + each * (count - size), peak.nbytes, size)


class _Peak:
    """Within, how far the memory of the process rises: of the GPU, where there is one."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._process = psutil.Process()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Peak:
        self._on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            self._before = self._process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._on_gpu:
            self.nbytes = torch.cuda.max_memory_allocated() - self._before

    def _watch(self) -> None:
        while not self._over.wait(_INTERVAL):
            if not self._on_gpu:
                held = self._process.memory_info().rss - self._before
                self.nbytes = max(self.nbytes, held)
