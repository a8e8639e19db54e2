"""Checkpoints: where they come from, how they get into the model, and the rate of each."""

from __future__ import annotations

from headwater.checkpoints.bound_series import BoundSeries, LoadedCheckpoint
from headwater.checkpoints.loader import default_checkpoints_load_func
from headwater.checkpoints.recording import (
    CheckpointRecorder,
    CheckpointSeries,
    ParameterGroup,
    RecordedCheckpoint,
)

__all__ = [
    "BoundSeries",
    "CheckpointRecorder",
    "CheckpointSeries",
    "LoadedCheckpoint",
    "ParameterGroup",
    "RecordedCheckpoint",
    "default_checkpoints_load_func",
]
