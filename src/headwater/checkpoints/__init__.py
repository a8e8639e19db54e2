"""Checkpoints: where they come from, how they get into the model, and the rate of each."""

from __future__ import annotations

from headwater.checkpoints.bound_series import BoundSeries, LoadedCheckpoint
from headwater.checkpoints.loader import default_checkpoints_load_func
from headwater.checkpoints.recording import (
    CheckpointRecorder,
    CheckpointSeries,
    Layout,
    ParameterGroup,
    PendingBatch,
    RecordedCheckpoint,
    RecordedRun,
    RecordedStep,
    Setting,
    read_run,
    unwrapped,
)
from headwater.checkpoints.state import load_state

__all__ = [
    "BoundSeries",
    "CheckpointRecorder",
    "CheckpointSeries",
    "Layout",
    "LoadedCheckpoint",
    "ParameterGroup",
    "PendingBatch",
    "RecordedCheckpoint",
    "RecordedRun",
    "RecordedStep",
    "Setting",
    "default_checkpoints_load_func",
    "load_state",
    "read_run",
    "unwrapped",
]
