"""The floor: a plain forward and backward pass over the same examples and checkpoints."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.workloads import cross_entropy

if TYPE_CHECKING:
    from benchmarks.workloads import Case

SIZES = (16, 32, 64, 128, 256, 512, 1024)


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

    With a limit, on as many (64 at the least) as take about so many seconds.
    """
    x, y = (part[:16] for part in case.training)

    def seconds(size: int) -> float:
        found = []
        for _ in range(3):
            begun = time.perf_counter()
            for inputs, targets in zip(x.split(size), y.split(size), strict=True):
                case.model.zero_grad(set_to_none=True)
                cross_entropy(case.model(inputs), targets).sum().backward()
            found.append(time.perf_counter() - begun)
        return min(found)

    count = 1024
    if limit is not None:
        count = max(64, min(count, int(16 * limit / seconds(16) / (3 * len(SIZES)))))
    x, y = (part[:count] for part in case.training)
    return min((size for size in SIZES if size <= len(x)), key=seconds, default=SIZES[0])
