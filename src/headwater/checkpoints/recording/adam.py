"""What Adam was about to do at a recorded checkpoint, parameter by parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from headwater.checkpoints.keys import match_keys
from headwater.checkpoints.recording.checkpoint import RecordedCheckpoint
from headwater.errors import RecordingError

_KINDS = ("Adam", "AdamW")


@dataclass(frozen=True)
class AdamState:
    """Adam's state for one parameter right before an update.

    Attributes:
        mean: the running mean of gradients m, before the update.
        square: the running mean of their squares v, before the update.
        rate: the learning rate.
        beta1, beta2, eps: Adam's.
        step: the number of the update, counted from 1.
        decay: how much of the weight is added to the gradient; 0 for AdamW.
    """

    mean: Tensor
    square: Tensor
    rate: float
    beta1: float
    beta2: float
    eps: float
    step: int
    decay: float

    def update(self, gradient: Tensor) -> Tensor:
        """m_t / (sqrt(v_t) + eps), bias-corrected, for the gradient of the update: one per row.

        The step is minus the rate times this.
        """
        mean = self.mean * self.beta1 + gradient * (1 - self.beta1)
        square = self.square * self.beta2 + gradient.square() * (1 - self.beta2)
        root = (square / (1 - self.beta2**self.step)).sqrt_()
        return mean.div_(1 - self.beta1**self.step).div_(root.add_(self.eps))

    def derivative(self, gradient: Tensor) -> Tensor:
        """By how much the step, rate included, grows with each coordinate of the gradient.

            rate * [ c1 / (r + eps) - c2 m g / (r (r + eps)^2) ],    r = sqrt(v_t), bias-corrected,
            c1 = (1 - beta1) / (1 - beta1^t),    c2 = (1 - beta2) / (1 - beta2^t)

        0 where neither this gradient nor any before it was other than 0: there the limit, c1 / eps,
        is that of changes far smaller than eps alone.

        Args:
            gradient: that of the update, weight decay included.
        """
        c1 = (1 - self.beta1) / (1 - self.beta1**self.step)
        c2 = (1 - self.beta2) / (1 - self.beta2**self.step)
        mean = (self.mean * self.beta1 + gradient * (1 - self.beta1)) / (1 - self.beta1**self.step)
        square = self.square * self.beta2 + gradient.square() * (1 - self.beta2)
        root = (square / (1 - self.beta2**self.step)).sqrt()
        still = root == 0
        safe = torch.where(still, torch.ones_like(root), root)
        bent = c2 * mean * gradient / (safe * (safe + self.eps).square())
        found = self.rate * (c1 / (safe + self.eps) - bent)
        return torch.where(still, torch.zeros_like(found), found)


def adam_states(
    checkpoint: RecordedCheckpoint, shapes: Mapping[str, torch.Size], like: Tensor
) -> dict[str, AdamState]:
    """Adam's state for every parameter that counts.

    Args:
        checkpoint: recorded with moments.
        shapes: the shape of every parameter that counts.
        like: a tensor of the dtype and on the device to have them in.

    Raises:
        RecordingError: the optimizer isn't Adam or AdamW, or has options that change its step; the
            moments weren't recorded; or the optimizer doesn't have a parameter.
    """
    name = checkpoint.path.name
    if checkpoint.optimizer not in _KINDS:
        raise RecordingError(
            f"{name} was recorded from {checkpoint.optimizer}; expected Adam or AdamW, whose "
            f"moments this method is made of"
        )
    recorded = checkpoint.moments()
    settings = {p: group.settings for group in checkpoint.groups for p in group.parameters}
    match = match_keys(list(shapes), list(settings))
    means, squares, steps = (
        _by_selection(recorded.get(kind, {}), list(shapes))
        for kind in ("exp_avg", "exp_avg_sq", "step")
    )
    states = {}
    for parameter, shape in shapes.items():
        if parameter not in match:
            raise RecordingError(
                f"{name} has no moments of {parameter}: it isn't in the optimizer, so training "
                f"didn't move it; leave it out: requires_grad_(False), or layers=[...]"
            )
        group = settings[match[parameter]]
        _refuse_options(group, name)
        # Before its first update a parameter has none.
        mean, square = (
            found[parameter].to(like) if parameter in found else like.new_zeros(shape)
            for found in (means, squares)
        )
        betas: Any = group["betas"]
        taken = int(steps[parameter]) if parameter in steps else 0
        states[parameter] = AdamState(
            mean,
            square,
            rate=_number(group["lr"]),
            beta1=_number(betas[0]),
            beta2=_number(betas[1]),
            eps=_number(group["eps"]),
            step=taken + 1,
            decay=0.0 if _decoupled(checkpoint, group) else _number(group.get("weight_decay", 0)),
        )
    return states


def recorded_gradient(
    checkpoint: RecordedCheckpoint, shapes: Mapping[str, torch.Size], like: Tensor
) -> dict[str, Tensor]:
    """The gradient that the update from a checkpoint was taken with; arguments as before.

    Raises:
        RecordingError: it wasn't recorded.
    """
    found = _by_selection(checkpoint.gradient(), list(shapes))
    return {
        name: found[name].to(like) if name in found else like.new_zeros(shape)
        for name, shape in shapes.items()
    }


def recorded_weights(
    checkpoint: RecordedCheckpoint, shapes: Mapping[str, torch.Size], like: Tensor
) -> dict[str, Tensor]:
    """The weights at a checkpoint; arguments as for `adam_states`."""
    with safe_open(checkpoint.path, framework="pt") as file:
        match = match_keys(list(shapes), list(file.keys()))
        return {name: file.get_tensor(key).to(like) for name, key in match.items()}


def _by_selection(found: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    return {name: found[key] for name, key in match_keys(names, list(found)).items()}


def _decoupled(checkpoint: RecordedCheckpoint, group: Mapping[str, Any]) -> bool:
    return checkpoint.optimizer == "AdamW" or bool(group.get("decoupled_weight_decay"))


def _refuse_options(group: Mapping[str, Any], name: str) -> None:
    for option in ("amsgrad", "maximize"):
        if group.get(option):
            raise RecordingError(
                f"{name} was recorded from Adam with {option}=True, whose step is another; only "
                f"Adam without it is known here"
            )


def _number(value: Any) -> float:
    return float(value)
