"""Which checkpoints remain where only so many may."""

from __future__ import annotations

from collections.abc import Sequence


def thinned_stride(steps: Sequence[int], stride: int, keep: int | None) -> int:
    """The distance at which no more than `keep` of the checkpoints lie.

    Doubled for as long as too many steps are multiples of it. So what remains is spaced evenly,
    from the first step to the last, and is between half of `keep` and `keep` once training is long.

    Args:
        steps: of the checkpoints, one that is about to be taken among them.
        stride: the distance up to now.
        keep: how many may remain; None for all.
    """
    while keep is not None and sum(step % stride == 0 for step in steps) > keep:
        stride *= 2
    return stride
