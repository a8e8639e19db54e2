"""A small model and states of it that are easily told apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

State = dict[str, torch.Tensor]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.fc2 = nn.Linear(4, 2, bias=False)


@pytest.fixture
def model() -> nn.Module:
    return Net()


@pytest.fixture
def make_state() -> Callable[[float], State]:
    """A state of the model all of whose floating numbers are the given one."""

    def state(value: float) -> State:
        own = Net().state_dict()
        return {k: torch.full_like(v, value) for k, v in own.items()}

    return state


@pytest.fixture
def holds() -> Callable[[nn.Module, float], bool]:
    """Whether every parameter and buffer of a model is the given number throughout."""

    def check(model: nn.Module, value: float) -> bool:
        return all(bool((v == value).all()) for v in model.state_dict().values())

    return check
