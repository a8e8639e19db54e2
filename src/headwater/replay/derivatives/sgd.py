"""The update of SGD: weight decay, momentum, dampening, Nesterov."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from headwater.replay.derivatives.update import UpdateRule, number

if TYPE_CHECKING:
    from torch import Tensor

    from headwater.checkpoints import Setting

_BUFFER = "momentum_buffer"


class Sgd(UpdateRule):
    """g' = g + decay w;  v' = momentum v + (1 - dampening) g', at first v' = g';  w' = w - lr v'.

    With Nesterov w' = w - lr (g' + momentum v'). Nothing in it scales coordinates.
    """

    def update(
        self,
        weight: Tensor,
        gradient: Tensor,
        moments: Mapping[str, Tensor],
        settings: Mapping[str, Setting],
        *,
        frozen: bool,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        change = -gradient if settings.get("maximize") else gradient
        decay, momentum = number(settings, "weight_decay"), number(settings, "momentum")
        if decay:
            change = change + decay * weight
        kept = {}
        if momentum:
            old = moments.get(_BUFFER)
            share = 1 - number(settings, "dampening")
            velocity = change if old is None else momentum * old + share * change
            kept[_BUFFER] = velocity
            change = change + momentum * velocity if settings.get("nesterov") else velocity
        return weight - number(settings, "lr") * change, kept
