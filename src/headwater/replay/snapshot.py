"""The state of a training run between two updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Snapshot:
    """Weights and the optimizer's own numbers right before an update.

    Attributes:
        step: how many updates were taken before.
        weights: every trainable parameter and its value, by name.
        moments: what the optimizer keeps of each parameter, by name and then by kind.
    """

    step: int
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Mapping[str, Tensor]]
