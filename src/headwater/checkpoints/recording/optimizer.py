"""What is recorded of an optimizer: its parameter groups, their settings, and its moments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headwater.checkpoints.rates import as_rate, is_number, scalar
from headwater.checkpoints.recording.entry import Setting, plain
from headwater.checkpoints.recording.manifest import GRADIENT, Layout
from headwater.errors import InputError


def torch_optimizer(optimizer: object) -> torch.optim.Optimizer:
    """The optimizer that takes the updates, inside of wrappers such as Accelerate's.

    Raises:
        InputError: there is none of PyTorch.
    """
    inner = optimizer
    # A wrapper may call itself an Optimizer, and not have what one has.
    while not hasattr(inner, "_optimizer_step_pre_hooks"):
        inner = getattr(inner, "optimizer", None)
        if inner is None:
            raise InputError(
                f"optimizer is a {type(optimizer).__name__}; expected a torch.optim.Optimizer, "
                f"whose updates can be watched"
            )
    if not isinstance(inner, torch.optim.Optimizer):
        raise InputError(f"optimizer is a {type(inner).__name__}; expected a torch.optim.Optimizer")
    return inner


def kind_of(optimizer: torch.optim.Optimizer) -> str:
    """The name of the optimizer's class, with its module where it isn't PyTorch's own."""
    kind = type(optimizer)
    own = kind.__module__.startswith("torch.optim")
    return kind.__qualname__ if own else f"{kind.__module__}.{kind.__qualname__}"


def layout_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> Layout:
    """The names, in the model, of the parameters in every group; a tied one by all its names.

    Raises:
        InputError: the optimizer has no parameter of the model.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    layout = tuple(
        tuple(name for parameter in group["params"] for name in names.get(id(parameter), ()))
        for group in optimizer.param_groups
    )
    if not any(layout):
        raise InputError(
            f"the optimizer ({type(optimizer).__name__}) has none of the parameters of the model "
            f"({type(model).__name__}), so its updates don't move it; pass the model that "
            f"optimizer was made of"
        )
    return layout


def settings_of(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Setting], ...]:
    """The hyperparameters of every group at this moment: numbers, and what else JSON can say.

    Raises:
        LearningRateError: a group's "lr" is missing or no rate.
    """
    found = []
    for index, group in enumerate(optimizer.param_groups):
        rate = as_rate(
            group.get("lr"), f"parameter group {index} of {type(optimizer).__name__} has"
        )
        others = {
            key: _plain(value)
            for key, value in group.items()
            if key not in ("params", "lr") and _sayable(value)
        }
        found.append({"lr": rate, **others})
    return tuple(found)


def moments_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Every tensor and number that the optimizer keeps of a parameter, as "exp_avg/fc1.weight"."""
    found = {}
    for name, parameter in model.named_parameters():
        # Not `state[...]`: a defaultdict, which asking for a parameter would change.
        state: Mapping[str, Any] = optimizer.state.get(parameter, {})
        for slot, value in state.items():
            if isinstance(value, Tensor):
                found[f"{slot}/{name}"] = value
            elif is_number(value):
                found[f"{slot}/{name}"] = torch.tensor(scalar(value))
    return found


def gradient_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The gradient that the coming update is taken with, as "gradient/fc1.weight".

    That of the batch, and of several that were accumulated, after clipping.
    """
    own = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {
        f"{GRADIENT}/{name}": parameter.grad.to_dense()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and id(parameter) in own
    }


def _sayable(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(is_number(each) for each in value)
    return value is None or isinstance(value, bool | str) or is_number(value)


def _plain(value: Any) -> Setting:
    if isinstance(value, tuple | list):
        return [_number(each) for each in value]
    return value if value is None or isinstance(value, bool | str) else _number(value)


def _number(value: object) -> Any:
    number: Any = scalar(value)
    return plain(number) if isinstance(number, float) and not math.isfinite(number) else number
