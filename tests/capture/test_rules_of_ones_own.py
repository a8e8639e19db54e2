"""`register_rule`: a layer type of the user's own, under the same check as ours."""

import logging

import pytest
import torch
from torch import Tensor, nn

from headwater import InputError, LayerCall, NotPerExample, register_rule
from headwater.capture import registry
from tests.estimators.small import (
    QUERIES,
    RATES,
    TRAINING,
    assert_close,
    loss_of_one,
    make,
    model,
    singles,
    states,
)
from tests.oracles import tracin


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = Scale()
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.scale(x)))


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_rules", dict(registry._rules))


def check_scores():
    estimator = make(model=model(kind=Scaled), checkpoints=states(Scaled))
    module = model(kind=Scaled)
    expected = tracin.influence_scores(
        module,
        list(zip(states(Scaled), RATES, strict=True)),
        loss_of_one,
        singles(*TRAINING),
        singles(*QUERIES),
        tracin.trainable_names(module),
    )
    assert_close(estimator.influence(*QUERIES), expected)


def fallbacks(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if "torch.func" in r.getMessage()]


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="headwater")
    return caplog


def test_a_rule_takes_the_place_of_the_fallback(log):
    calls: list[LayerCall] = []

    def rule(call: LayerCall) -> dict[str, Tensor]:
        calls.append(call)
        return {"weight": call.input * call.output_grad}

    register_rule(Scale, rule)
    check_scores()
    assert not fallbacks(log)
    assert calls[0].wanted == {"weight"}
    assert {call.batch_size for call in calls} == {1, 2, 3}


def test_without_a_rule_the_fallback_serves_and_says_so_once(log):
    check_scores()
    assert fallbacks(log) == ["no rule for scale.weight: per-example gradients through torch.func"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda call: {"weight": 2 * call.input * call.output_grad},
        lambda call: {"weight": (call.input * call.output_grad).flip(0)},
        lambda call: {"weight": (call.input * call.output_grad)[:1]},
        lambda call: {"bias": call.output_grad},
        lambda call: {},
    ],
    ids=["doubled", "credited to other examples", "short", "of no parameter", "silent"],
)
def test_a_wrong_rule_gives_no_wrong_scores(wrong, log):
    register_rule(Scale, wrong)
    check_scores()
    assert any("scale.weight" in message for message in fallbacks(log))


def test_a_rule_may_say_that_it_does_not_apply(log):
    def rule(call: LayerCall) -> dict[str, Tensor]:
        raise NotPerExample("not today")

    register_rule(Scale, rule)
    check_scores()
    assert fallbacks(log) == ["scale.weight: per-example gradients through torch.func (not today)"]


def test_a_rule_serves_subclasses_unless_they_change_the_forward():
    class Renamed(Scale):
        pass

    class Changed(Scale):
        def forward(self, x: Tensor) -> Tensor:
            return x + self.weight

    def rule(call):
        return {}

    register_rule(Scale, rule)
    assert registry.find_rule(Renamed()) is rule
    assert registry.find_rule(Changed()) is None
    patched = Scale()
    patched.forward = lambda x: x
    assert registry.find_rule(patched) is None


def test_a_rule_is_called_and_its_methods_exist():
    with pytest.raises(InputError, match="str is not callable"):
        register_rule(Scale, "rule")
    with pytest.raises(InputError, match="Scale has no method 'forwards'"):
        register_rule(Scale, lambda call: {}, methods=("forwards",))
