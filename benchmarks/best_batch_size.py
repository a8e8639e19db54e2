"""The batch size at which a method is fastest, found on few examples in limited time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.answering import ALL_SCORES
from benchmarks.smaller import first_checkpoint, with_training

if TYPE_CHECKING:
    from benchmarks.answering import Answering
    from benchmarks.workloads import Case

# Of a batch's gradients, where they are held one by one; copies come on top.
GRADIENT_BYTES = 2 * 2**30
FEW = 16


def best_batch_size(kind: type[Answering], case: Case, *, limit: float) -> int | None:
    """The best of the method's sizes; None where it picks its own.

    All queries are asked, at one checkpoint. Large sizes are tried first, since methods that go
    over the queries again with every training batch are slow at small ones.

    Args:
        limit: about how many seconds the search may take.
    """
    sizes = [size for size in kind.sizes if _fits(kind, case, size)] or list(kind.sizes[:1])
    if len(sizes) < 2:
        return sizes[0] if sizes else None
    small = first_checkpoint(case)
    _seconds(kind, with_training(small, FEW), FEW)  # A first call loads what later ones don't.
    few = _seconds(kind, with_training(small, FEW), FEW)
    count = int(FEW * limit / len(sizes) / few)
    count = max(4 * FEW, min(count, sizes[-1], len(case.training[1])))
    trial = with_training(small, count)
    begun, found = time.perf_counter(), {}
    for size in reversed([size for size in sizes if size <= count] or sizes[:1]):
        found[size] = _seconds(kind, trial, size)
        worse = [seconds > 1.2 * min(found.values()) for seconds in found.values()]
        if worse[-2:] == [True, True] or time.perf_counter() - begun > limit:
            break
    return min(found, key=found.__getitem__)


def _fits(kind: type[Answering], case: Case, size: int) -> bool:
    numbers = sum(parameter.numel() for parameter in case.model.parameters())
    return not kind.holds_gradients or 4 * numbers * size <= GRADIENT_BYTES


def _seconds(kind: type[Answering], case: Case, size: int) -> float:
    answering = kind(case, size)
    begun = time.perf_counter()
    answering.ask(ALL_SCORES)
    return time.perf_counter() - begun
