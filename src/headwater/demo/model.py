"""The model to explain: a small CNN."""

from __future__ import annotations

import torch
from torch import nn

from headwater.demo.data import N_CLASSES


def small_cnn(seed: int) -> nn.Sequential:
    """Return an untrained CNN for images of 8 x 8 pixels, with 38,282 parameters.

    Args:
        seed: Of the initial weights; the caller's random state is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 64),
            nn.ReLU(),
            nn.Linear(64, N_CLASSES),
        )
