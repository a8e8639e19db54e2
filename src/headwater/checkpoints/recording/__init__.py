"""Checkpoints that a training loop records, and what they tell about the training."""

from __future__ import annotations

from headwater.checkpoints.recording.adam import (
    AdamState,
    adam_states,
    recorded_gradient,
    recorded_weights,
)
from headwater.checkpoints.recording.checkpoint import ParameterGroup, RecordedCheckpoint
from headwater.checkpoints.recording.recorder import CheckpointRecorder
from headwater.checkpoints.recording.series import CheckpointSeries

__all__ = [
    "AdamState",
    "CheckpointRecorder",
    "CheckpointSeries",
    "ParameterGroup",
    "RecordedCheckpoint",
    "adam_states",
    "recorded_gradient",
    "recorded_weights",
]
