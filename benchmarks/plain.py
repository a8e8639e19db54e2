"""The floor: a plain forward and backward pass over the same examples and checkpoints."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from benchmarks.workloads import cross_entropy

if TYPE_CHECKING:
    from benchmarks.workloads import Case

SIZES = (16, 32, 64, 128, 256, 512, 1024)
# How often each is tried at the least, and for how many seconds all of them, if that is more often.
_TRIES, _SECONDS = 3, 2.0


def plain_pass(case: Case, batch_size: int, *, queries: bool = True) -> None:
    """Forward, loss, backward to every parameter's gradient, in slices of tensors in memory."""
    parts = [case.training, case.queries] if queries else [case.training]
    for state in case.states:
        case.model.load_state_dict(state)
        for inputs, targets in parts:
            for x, y in zip(inputs.split(batch_size), targets.split(batch_size), strict=True):
                case.model.zero_grad(set_to_none=True)
                cross_entropy(case.model(x), y).sum().backward()
    case.model.zero_grad(set_to_none=True)


def fastest_batch_size(case: Case, *, limit: float | None = None) -> int:
    """The batch size at which the plain pass is fastest, tried on up to 1,024 examples.

    With a limit, on as many (64 at the least) as take about so many seconds. Sizes are tried in
    turn, small models' many times: a machine that is slow for a moment is so to all of them.
    """
    x, y = (part[:16] for part in case.training)

    def seconds(size: int) -> float:
        begun = time.perf_counter()
        for inputs, targets in zip(x.split(size), y.split(size), strict=True):
            case.model.zero_grad(set_to_none=True)
            cross_entropy(case.model(inputs), targets).sum().backward()
        return time.perf_counter() - begun

    count = 1024
    if limit is not None:
        few = min(seconds(16) for _ in range(_TRIES))
        count = max(64, min(count, int(16 * limit / few / (_TRIES * len(SIZES)))))
    x, y = (part[:count] for part in case.training)
    sizes = [size for size in SIZES if size <= len(x)] or [SIZES[0]]
    found = dict.fromkeys(sizes, math.inf)
    begun, tries = time.perf_counter(), 0
    while tries < _TRIES or (tries < 10 * _TRIES and time.perf_counter() - begun < _SECONDS):
        found = {size: min(best, seconds(size)) for size, best in found.items()}
        tries += 1
    return min(found, key=found.__getitem__)
