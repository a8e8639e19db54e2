"""The update of Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from headwater.errors import NotReplayableError
from headwater.replay.derivatives.update import UpdateRule, number

if TYPE_CHECKING:
    from torch import Tensor

    from headwater.checkpoints import Setting


class Adam(UpdateRule):
    """m' = b1 m + (1 - b1) g;  v' = b2 v + (1 - b2) g^2;  w' = w - lr m'^ / (sqrt(v'^) + eps).

    m'^ and v'^ are m' / (1 - b1^t) and v' / (1 - b2^t). With `amsgrad` the largest v' so far stands
    in place of v'.

    Args:
        decoupled: whether weight decay always shrinks the weights by themselves, as in AdamW; if
            not, the group's settings say so, and the decay is part of the gradient elsewise.

    Source: Kingma and Ba (2015), arXiv 1412.6980; Loshchilov and Hutter (2019), arXiv 1711.05101.
    """

    def __init__(self, *, decoupled: bool = False) -> None:
        self._decoupled = decoupled

    def update(
        self,
        weight: Tensor,
        gradient: Tensor,
        moments: Mapping[str, Tensor],
        settings: Mapping[str, Setting],
        *,
        frozen: bool,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        rate, decay = number(settings, "lr"), number(settings, "weight_decay")
        first, second = _betas(settings)
        change = -gradient if settings.get("maximize") else gradient
        if decay and (self._decoupled or settings.get("decoupled_weight_decay")):
            weight = weight * (1 - rate * decay)
        elif decay:
            change = change + decay * weight
        steps = float(moments["step"]) + 1 if "step" in moments else 1.0
        mean = (1 - first) * change
        square = (1 - second) * change * change
        if "exp_avg" in moments:
            mean = mean + first * moments["exp_avg"]
            square = square + second * moments["exp_avg_sq"]
        kept = {"exp_avg": mean, "exp_avg_sq": square}
        largest = square
        if settings.get("amsgrad"):
            old = moments.get("max_exp_avg_sq")
            largest = square if old is None else torch.maximum(old, square)
            kept["max_exp_avg_sq"] = largest
        scale = _root(largest / (1 - second**steps)) + number(settings, "eps", 1e-8)
        if frozen:
            scale = scale.detach()
        return weight - rate / (1 - first**steps) * mean / scale, kept


def _root(square: Tensor) -> Tensor:
    # Where no gradient ever was, the mean that is divided by it is zero as well, and the scale's
    # part in the derivative with it: 0 * inf in the formula, 0 in truth.
    found = square > 0
    return torch.where(found, torch.where(found, square, 1.0).sqrt(), 0.0)


def _betas(settings: Mapping[str, Setting]) -> tuple[float, float]:
    betas = settings.get("betas")
    if isinstance(betas, Sequence) and not isinstance(betas, str) and len(betas) == 2:
        return float(betas[0]), float(betas[1])
    raise NotReplayableError(f"the recorded run has betas={betas!r}; expected two numbers")
