"""Checkpoints that a training loop records, and what they tell about the training."""

from __future__ import annotations

from headwater.checkpoints.recording.adam import (
    AdamState,
    adam_states,
    recorded_gradient,
    recorded_weights,
)
from headwater.checkpoints.recording.checkpoint import ParameterGroup, RecordedCheckpoint
from headwater.checkpoints.recording.entry import Setting
from headwater.checkpoints.recording.manifest import Layout
from headwater.checkpoints.recording.recorder import CheckpointRecorder
from headwater.checkpoints.recording.run import RecordedRun, read_run
from headwater.checkpoints.recording.series import CheckpointSeries
from headwater.checkpoints.recording.step import PendingBatch, RecordedStep
from headwater.checkpoints.recording.weights import unwrapped

__all__ = [
    "AdamState",
    "CheckpointRecorder",
    "CheckpointSeries",
    "Layout",
    "ParameterGroup",
    "PendingBatch",
    "RecordedCheckpoint",
    "RecordedRun",
    "RecordedStep",
    "Setting",
    "adam_states",
    "read_run",
    "recorded_gradient",
    "recorded_weights",
    "unwrapped",
]
