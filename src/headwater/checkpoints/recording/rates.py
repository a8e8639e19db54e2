"""What checkpoints are weighed by: the rates as recorded, or as momentum makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from headwater.checkpoints.rates import as_rate
from headwater.checkpoints.recording.entry import Setting
from headwater.errors import InputError, LearningRateError

Rates: TypeAlias = Literal["recorded", "effective"]

# Optimizers whose step, for a gradient, is a number times it, now and in later steps.
PLAIN = frozenset({"SGD"})


def rule_of(rates: Rates) -> Callable[[str, Mapping[str, Setting], str], float]:
    """From an optimizer, a group's settings and a checkpoint's name to the group's rate.

    Raises:
        InputError: there is no such rule.
    """
    rules = {"recorded": recorded_rate, "effective": effective_rate}
    if rates not in rules:
        raise InputError(
            f"rates is {rates!r}; expected 'recorded' (the optimizer's learning rate) or "
            f"'effective' (corrected for momentum)"
        )
    return rules[rates]


def recorded_rate(optimizer: str, settings: Mapping[str, Setting], name: str) -> float:
    """The optimizer's own learning rate."""
    return as_rate(settings.get("lr"), f"{name} has")


def effective_rate(optimizer: str, settings: Mapping[str, Setting], name: str) -> float:
    """How far a gradient moves the weights in all, in this step and through momentum in later ones.

        rate = lr * (1 - dampening) / (1 - momentum)

    With or without Nesterov: the sum of the geometric series is the same. It takes the learning
    rate to stay about the same over the 1 / (1 - momentum) steps that it covers.

    Raises:
        LearningRateError: the optimizer isn't SGD, so that there is no such number.
    """
    rate = recorded_rate(optimizer, settings, name)
    if optimizer not in PLAIN:
        raise LearningRateError(
            f"rates='effective' is for SGD with momentum, and {name} was recorded with "
            f"{optimizer}, of which no single rate tells how far a gradient moves the weights. "
            f"Use rates='recorded' to weigh checkpoints by its learning rate, or weigh them "
            f"yourself: learning_rates=[...], one per checkpoint"
        )
    momentum, dampening = (_number(settings.get(key, 0), name) for key in ("momentum", "dampening"))
    if not 0 <= momentum < 1:
        raise LearningRateError(
            f"{name} has momentum {momentum}, with which a gradient never ceases to act; use "
            f"rates='recorded', or learning_rates=[...]"
        )
    return as_rate(rate * (1 - dampening) / (1 - momentum) if momentum else rate, f"{name} has")


def _number(value: Setting, name: str) -> float:
    if isinstance(value, bool | int | float):
        return float(value)
    raise LearningRateError(f"{name} has the setting {value!r}, which is no number")
