"""Checkpoints: where they come from, how they get into the model, and the rate of each."""

from __future__ import annotations

from headwater.checkpoints.bound_series import BoundSeries, LoadedCheckpoint
from headwater.checkpoints.loader import default_checkpoints_load_func

__all__ = ["BoundSeries", "LoadedCheckpoint", "default_checkpoints_load_func"]
