"""Checkpoints: where they come from, how they get into the model, and the rate of each."""

from __future__ import annotations

from headwater.checkpoints.loader import default_checkpoints_load_func
from headwater.checkpoints.series import CheckpointSeries, LoadedCheckpoint

__all__ = ["CheckpointSeries", "LoadedCheckpoint", "default_checkpoints_load_func"]
