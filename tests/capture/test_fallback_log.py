"""What is said when the fast general way can't be gone."""

import logging

import pytest
import torch
from torch import nn

from tests.estimators.small import QUERIES, assert_close, make, model


class Branching(nn.Module):
    """Parameters of its own, and a branch by value, which vmap can't batch."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)
        for name in "abcdef":
            self.register_parameter(name, nn.Parameter(torch.ones(3)))

    def forward(self, x):
        if float(x.sum()) > 1e9:
            return self.fc(x)
        return self.fc(x) * self.a * self.b * self.c * self.d * self.e * self.f


class Stubborn(Branching):
    """Refuses a batch of one too, so that the last way is gone."""

    def forward(self, x):
        if len(x) == 1:
            raise RuntimeError("never a single example\nand a second line")
        return super().forward(x)


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, logger="headwater")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("kind", [Branching, Stubborn])
def test_the_slow_way_is_said_once_clearly_and_shortly(said, kind):
    states = [dict(model(seed, kind).state_dict()) for seed in (1, 2)]
    estimator = make(model=model(kind=kind), checkpoints=states, batch_size=7)
    estimator.influence(*QUERIES)
    (message,) = said()
    assert message.startswith("headwater: gradients of 6 parameters (a, b, c, d and 2 more) by one")
    assert "slower and equally right" in message
    assert "\n" not in message
    cause = message.partition("can't batch them (")[2].removesuffix(")")
    assert cause.startswith("RuntimeError: ")
    assert len(cause) <= 100


def test_one_parameter_is_one(said):
    states = [dict(model(seed, Branching).state_dict()) for seed in (1, 2)]
    estimator = make(model=model(kind=Branching), checkpoints=states, layers=["c"])
    own = make(model=model(kind=Branching), checkpoints=states, layers=["c"], batch_size=1)
    assert_close(estimator.influence(), own.influence())
    assert "gradients of 1 parameter (c) by" in said()[0]
