"""The widest floating-point numbers that a device has."""

from __future__ import annotations

import torch


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices that have no more."""
    return torch.float32 if device.type == "mps" else torch.float64
