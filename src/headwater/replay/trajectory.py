"""The states of a run, gone through backwards in memory that grows with the root of its length."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from headwater.replay.snapshot import Snapshot

if TYPE_CHECKING:
    from headwater.checkpoints import RecordedStep
    from headwater.replay.player import Player


class Trajectory:
    """Every so many updates a state, from which those in between are computed again.

    Of T updates about sqrt(T) states are held, and as many more while they are gone through.

    Args:
        player: takes the updates, while the model is borrowed.
        steps: all updates.
        start: the state before the first.
        seen: called with the present number of updates, between one update and the next.
    """

    def __init__(
        self,
        player: Player,
        steps: Sequence[RecordedStep],
        start: Snapshot,
        seen: Callable[[int], None],
    ) -> None:
        self._steps = steps
        self._stride = max(1, math.isqrt(len(steps)))
        self._kept = [start]
        player.load(start, steps[0])
        for place, step in enumerate(steps):
            if place and place % self._stride == 0:
                self._kept.append(player.snapshot(step.step))
            seen(step.step)
            player.take(step)
        seen(steps[-1].step + 1)
        self.end = player.snapshot(steps[-1].step + 1)

    def backwards(self, player: Player) -> Iterator[tuple[RecordedStep, Snapshot]]:
        """Every update with the state before it, from the last to the first."""
        for place in reversed(range(len(self._kept))):
            steps = self._steps[place * self._stride : (place + 1) * self._stride]
            states = [self._kept[place]]
            player.load(states[0], steps[0])
            for step, following in itertools.pairwise(steps):
                player.take(step)
                states.append(player.snapshot(following.step))
            while states:
                yield steps[len(states) - 1], states.pop()
