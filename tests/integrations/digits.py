"""Some of scikit-learn's digits, and what a callback of the test's own saw before each update."""

from dataclasses import dataclass

import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor

from headwater import CheckpointSeries

images, labels = map(torch.as_tensor, load_digits(return_X_y=True))
IMAGES, LABELS = images[:60].float() / 16, labels[:60]


@dataclass(frozen=True)
class Seen:
    state: dict[str, Tensor]
    rates: list[float]


def seen(model, optimizer) -> Seen:
    state = {key: value.clone() for key, value in model.state_dict().items()}
    return Seen(state, [group["lr"] for group in optimizer.param_groups])


def assert_recorded(series: CheckpointSeries, before: dict[int, Seen]) -> None:
    """The series holds, by step, what was seen right before that update."""
    for checkpoint in series:
        expected = before[checkpoint.step]
        saved = load_file(checkpoint)
        assert saved.keys() == expected.state.keys()
        assert all(torch.equal(saved[key], expected.state[key]) for key in saved)
        assert list(checkpoint.rates) == expected.rates
