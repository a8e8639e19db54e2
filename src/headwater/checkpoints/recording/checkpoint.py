"""One recorded checkpoint: its file, and what training said of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from headwater.checkpoints.recording.entry import Setting
from headwater.checkpoints.recording.manifest import GRADIENT
from headwater.errors import RecordingError


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that an optimizer moves alike.

    Attributes:
        parameters: their names; a tied one has several.
        settings: "lr" and the other hyperparameters of the update from this checkpoint.
        rate: what the checkpoint is weighed by for these parameters.
    """

    parameters: tuple[str, ...]
    settings: Mapping[str, Setting]
    rate: float


@dataclass(frozen=True)
class RecordedCheckpoint(os.PathLike[str]):
    """A checkpoint of a `CheckpointRecorder`, in the place of its file's path.

    Attributes:
        path: the file of the weights before update number `step`.
        step: how many updates the optimizer had taken before.
        loss: the mean of the training losses noted since the checkpoint before; None without any.
        optimizer: the name of the optimizer's class.
        groups: its parameter groups, each with its rate.
        moments_path: the file of the optimizer's own tensors; None without.
    """

    path: Path
    step: int
    loss: float | None
    optimizer: str
    groups: tuple[ParameterGroup, ...]
    moments_path: Path | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def rates(self) -> tuple[float, ...]:
        """The rate of each parameter group."""
        return tuple(group.rate for group in self.groups)

    def moments(self) -> dict[str, dict[str, Tensor]]:
        """The optimizer's own tensors before the update, by kind and then by parameter, on the CPU.

        Of Adam, for one, `moments()["exp_avg_sq"]["fc1.weight"]`. What the optimizer didn't have
        yet, as before its first update, isn't there.

        Raises:
            RecordingError: they weren't recorded.
        """
        return {kind: each for kind, each in self._beside().items() if kind != GRADIENT}

    def gradient(self) -> dict[str, Tensor]:
        """The gradient that the update was taken with, by parameter, on the CPU.

        Raises:
            RecordingError: it wasn't recorded.
        """
        found = self._beside().get(GRADIENT)
        if found is None:
            raise RecordingError(
                f"{self.path.name} was recorded without the gradient of its update, by an earlier "
                f"headwater; record again with CheckpointRecorder(..., moments=True)"
            )
        return found

    def _beside(self) -> dict[str, dict[str, Tensor]]:
        """All that was recorded beside the weights, by kind and then by parameter."""
        if self.moments_path is None:
            raise RecordingError(
                f"{self.path.name} was recorded without the optimizer's moments; record with "
                f"CheckpointRecorder(..., moments=True)"
            )
        found: dict[str, dict[str, Tensor]] = {}
        with safe_open(self.moments_path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                kind, _, name = key.partition("/")
                found.setdefault(kind, {})[name] = file.get_tensor(key)
        return found
