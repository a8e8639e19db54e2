"""Choosing checkpoints: where the training loss falls."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

# A fall of less than this share of the loss is none: the rest is noise.
_FLAT = 0.01


def recommended(
    steps: Sequence[int], losses: Sequence[float | None], rates: Sequence[float], n: int
) -> tuple[list[int], str]:
    """The places of the n checkpoints that are recommended, ascending, and the reason.

    Args:
        steps: of the checkpoints, ascending.
        losses: the training loss near each; None, or not finite, where it isn't known.
        rates: the largest rate of each; one of 0 counts for nothing.
        n: how many, at least 1.
    """
    candidates = [place for place, rate in enumerate(rates) if rate > 0]
    still = len(steps) - len(candidates)
    if not candidates:
        candidates, still = list(range(len(steps))), 0
    left_out = f" Left out: {still} with a rate of 0, which counts for nothing." if still else ""
    if n >= len(candidates):
        every = "The only one there is" if len(candidates) == 1 else f"All {len(candidates)}"
        return candidates, f"{every}: {n} were asked for.{left_out}"
    own_steps = [steps[place] for place in candidates]
    known = [(steps[p], loss) for p in candidates if _known(loss := losses[p])]
    missing = len(candidates) - len(known)
    chosen, reason = _chosen(own_steps, known, n)
    if missing and known:
        reason += (
            f" {missing} without a loss {'is' if missing == 1 else 'are'} placed between others."
        )
    return [candidates[place] for place in chosen], reason + left_out


def _chosen(
    steps: Sequence[int], known: Sequence[tuple[int, float | None]], n: int
) -> tuple[list[int], str]:
    if not known:
        return _evenly(steps, n), (
            f"{n} of {len(steps)}, spread evenly over training: no losses were noted, so it isn't "
            f"known where they fell (recorder.note_loss(loss) notes them)."
        )
    losses = [_interpolated(step, known) for step in steps]
    best = [min(losses[: place + 1]) for place in range(len(losses))]
    fall = best[0] - best[-1]
    if fall <= _FLAT * max(abs(loss) for loss in losses):
        return _evenly(steps, n), (
            f"{n} of {len(steps)}, spread evenly over training: the loss never fell clearly below "
            f"the {losses[0]:.3g} it began with, so no part of training stands out. Where a loss "
            f"doesn't fall, gradients say little of what was learnt."
        )
    fallen = [best[0] - loss for loss in best]
    places = _nearest(fallen, [fall * (share + 0.5) / n for share in range(n)])
    within = sum(fallen[place] < fall for place in places)
    reason = (
        f"{n} of {len(steps)}, each for an equal share of the fall of the training loss from "
        f"{best[0]:.3g} to {best[-1]:.3g}: steps {', '.join(str(steps[p]) for p in places)}. "
        f"Once the loss has stopped falling, gradients are small and carry little signal."
    )
    if within < n:
        reason += f" It fell at no more than {within} of these; the others come right after."
    return places, reason


def _nearest(values: Sequence[float], targets: Sequence[float]) -> list[int]:
    """For each target the place, not taken yet, whose value is nearest; of equals the first."""
    free = list(range(len(values)))
    taken = []
    for target in targets:
        place = min(free, key=lambda p: (abs(values[p] - target), p))
        free.remove(place)
        taken.append(place)
    return sorted(taken)


def _evenly(steps: Sequence[int], n: int) -> list[int]:
    """N places at even distances of their steps."""
    first, last = steps[0], steps[-1]
    return _nearest(steps, [first + (last - first) * (share + 0.5) / n for share in range(n)])


def _interpolated(step: int, known: Sequence[tuple[int, float | None]]) -> float:
    """The loss at a step, on the line between those that are known; beyond them, the nearest."""
    after = bisect.bisect_left([at for at, _ in known], step)
    if after == len(known):
        return _number(known[-1][1])
    at, loss = known[after]
    if after == 0 or at == step:
        return _number(loss)
    earlier, before = known[after - 1]
    share = (step - earlier) / (at - earlier)
    return _number(before) * (1 - share) + _number(loss) * share


def _known(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)


def _number(loss: float | None) -> float:
    assert loss is not None
    return loss
