"""Checkpoints: where they come from, how they get into the model, and the rate of each."""

from __future__ import annotations

from headwater.checkpoints.bound_series import BoundSeries, LoadedCheckpoint
from headwater.checkpoints.loader import default_checkpoints_load_func
from headwater.checkpoints.recording import (
    AdamState,
    CheckpointRecorder,
    CheckpointSeries,
    ParameterGroup,
    RecordedCheckpoint,
    adam_states,
    recorded_gradient,
    recorded_weights,
)
from headwater.checkpoints.source import count_of, runs_joined

__all__ = [
    "AdamState",
    "BoundSeries",
    "CheckpointRecorder",
    "CheckpointSeries",
    "LoadedCheckpoint",
    "ParameterGroup",
    "RecordedCheckpoint",
    "adam_states",
    "count_of",
    "default_checkpoints_load_func",
    "recorded_gradient",
    "recorded_weights",
    "runs_joined",
]
