"""What a pass over all training examples will take, measured on a few of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from types import TracebackType

# Long enough for the clock, and for what is done once per pass not to hide what is done per batch.
_LONG_ENOUGH = 1.0
_FEWEST = 32
_GROWTH = 4
# Between two looks at the memory that the process has.
_INTERVAL = 0.005


@dataclass(frozen=True)
class Cost:
    """A pass's cost, as far as a few examples tell.

    Attributes:
        seconds: of the whole pass.
        nbytes: the most memory that the process had meanwhile: of the GPU, where it uses one.
        measured_on: how many examples it was measured on.
    """

    seconds: float
    nbytes: int
    measured_on: int


def measured_cost(
    run: Callable[[int], object], count: int, agreed: Callable[[float], float] | None = None
) -> Cost:
    """The cost of `run(count)`, from runs on fewer examples.

    What is done once, such as loading checkpoints and the gradients of queries, is told from what
    is done per example by runs on different numbers of them.

    Args:
        run: a pass over that many training examples.
        count: how many there are, N.
        agreed: the time that all processes go by which run it together; None: this one alone.
    """
    timed = partial(_timed, run, agreed or float)
    sizes, times = [min(count, _FEWEST)], [0.0]
    with _Peak() as peak:
        # What is done once per process, such as choosing algorithms, is no part of a pass.
        run(sizes[0])
        times[0] = timed(sizes[0])
        while sizes[-1] < count and not (times[-1] >= _LONG_ENOUGH and times[-1] >= 2 * times[0]):
            sizes.append(min(count, _GROWTH * sizes[-1]))
            times.append(timed(sizes[-1]))
    each = 0.0
    if len(sizes) > 1:
        each = max(0.0, times[-1] - times[-2]) / (sizes[-1] - sizes[-2])
    return Cost(times[-1] + each * (count - sizes[-1]), peak.nbytes, sizes[-1])


def _timed(run: Callable[[int], object], agreed: Callable[[float], float], size: int) -> float:
    """The shorter of two times: whatever else the machine does only ever adds."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        run(size)
        times.append(agreed(time.perf_counter() - start))
        if times[0] > _LONG_ENOUGH:
            break
    return min(times)


class _Peak:
    """Within, the most memory that the process has: of the GPU, where it uses one."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._process = psutil.Process()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Peak:
        self._on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
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
            self.nbytes = torch.cuda.max_memory_allocated()

    def _watch(self) -> None:
        while not self._over.wait(_INTERVAL):
            if not self._on_gpu:
                self.nbytes = max(self.nbytes, self._process.memory_info().rss)
