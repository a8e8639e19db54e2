"""Checkpoints: where they come from, how they get into the model, and the rate of each."""

from __future__ import annotations

from headwater.checkpoints.bound_series import BoundSeries, LoadedCheckpoint
from headwater.checkpoints.loader import default_checkpoints_load_func
from headwater.checkpoints.recording import (
    AdamState,
    CheckpointRecorder,
    CheckpointSeries,
    Layout,
    ParameterGroup,
    PendingBatch,
    RecordedCheckpoint,
    RecordedRun,
    RecordedStep,
    Setting,
    adam_states,
    read_run,
    recorded_gradient,
    recorded_weights,
    unwrapped,
)
from headwater.checkpoints.recording.folder import is_recording
from headwater.checkpoints.source import count_of, runs_joined
from headwater.checkpoints.state import load_state

__all__ = [
    "AdamState",
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
    "adam_states",
    "count_of",
    "default_checkpoints_load_func",
    "is_recording",
    "load_state",
    "read_run",
    "recorded_gradient",
    "recorded_weights",
    "runs_joined",
    "unwrapped",
]
