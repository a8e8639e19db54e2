"""scikit-learn's digits, some of them, in float64."""

import pytest
import torch
from torch import nn

CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="none")


def digits(start, stop, dtype=torch.float64):
    """(images as rows of 64, labels)."""
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    images, labels = load_digits(return_X_y=True)
    images = torch.as_tensor(images[start:stop]).to(dtype) / 16
    return images, torch.as_tensor(labels[start:stop])


def pooled(start, stop):
    """Means of 2 x 2 pixels, (images as rows of 16, labels)."""
    images, labels = digits(start, stop)
    return nn.functional.avg_pool2d(images.view(-1, 1, 8, 8), 2).flatten(1), labels


def linear():
    return nn.Linear(16, 10).double()


def mlp():
    return nn.Sequential(nn.Linear(64, 7), nn.Tanh(), nn.Linear(7, 10)).double()
