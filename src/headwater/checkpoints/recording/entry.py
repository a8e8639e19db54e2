"""What a manifest says of one recorded checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Setting = bool | int | float | str | Sequence[float] | None
"""A hyperparameter, as JSON can say it; a number that isn't finite as a text."""


@dataclass(frozen=True)
class FileEntry:
    """A committed file.

    Attributes:
        file: its path within the folder, with forward slashes.
        nbytes: its size.
    """

    file: str
    nbytes: int


@dataclass(frozen=True)
class Entry:
    """A committed checkpoint.

    Attributes:
        step: how many updates the optimizer had taken before.
        weights: the file of the state before update number `step`, counted from 0.
        moments: the file of the optimizer's own tensors at that moment; None without.
        loss: the mean of the losses noted since the checkpoint before was taken; None without any.
        losses: how many they were.
        optimizer: the class of the optimizer.
        layout: the place of the optimizer's parameter groups in the manifest's `layouts`.
        settings: of every parameter group, the rate ("lr") and the other hyperparameters of the
            update that followed.
    """

    step: int
    weights: FileEntry
    moments: FileEntry | None
    loss: float | None
    losses: int
    optimizer: str
    layout: int
    settings: tuple[Mapping[str, Setting], ...]

    @property
    def files(self) -> list[FileEntry]:
        """All its files."""
        return [self.weights] if self.moments is None else [self.weights, self.moments]

    def to_json(self) -> dict[str, Any]:
        """The entry as it stands in the manifest."""
        return {**asdict(self), "loss": plain(self.loss)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Entry:
        """The entry that was written. What is no entry raises KeyError, TypeError or ValueError."""
        moments, loss = told["moments"], told["loss"]
        return cls(
            **{
                **told,
                "weights": FileEntry(**told["weights"]),
                "moments": None if moments is None else FileEntry(**moments),
                "loss": None if loss is None else float(loss),
                "settings": tuple(dict(group) for group in told["settings"]),
            }
        )


def plain(number: float | None) -> float | str | None:
    """The number as JSON can say it: one that isn't finite as a text, which `float` reads."""
    return number if number is None or math.isfinite(number) else str(number)
