"""Learning rates that differ from parameter to parameter, on both sides of every product."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headwater.forms import Gradients
from headwater.forms.multiplied import multiplied

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from headwater.checkpoints import BoundSeries
    from headwater.forms import Form
    from headwater.forms.gradients import Block


class ParameterRates:
    """In the place of a projection, or before one: each parameter's gradient times a root.

        sum over parameters p of rate_p * <g_p, g'_p>
            = sum over p of <sqrt(rate_p) * g_p, sqrt(rate_p) * g'_p>

    Nothing is changed at checkpoints where all parameters that count have one rate.

    Args:
        series: knows the rates once a checkpoint was visited.
        shapes: the shape of every selected parameter.
        projection: what gradients go through afterwards; None for nothing.
    """

    def __init__(
        self,
        series: BoundSeries,
        shapes: Mapping[str, torch.Size],
        projection: Callable[[Gradients, int], Gradients] | None,
    ) -> None:
        self._series = series
        self._shapes = shapes
        self._projection = projection

    def __call__(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """The gradients at a checkpoint, weighed and projected."""
        rates = self._series.by_parameter(checkpoint)
        if rates is not None or self._projection is not None:
            gradients = gradients.widened()
        if rates is not None:
            gradients = self._weighed(gradients, rates)
        return gradients if self._projection is None else self._projection(gradients, checkpoint)

    def _weighed(self, gradients: Gradients, rates: Mapping[str, float]) -> Gradients:
        forms: dict[Block, Form] = {}
        for block, form in gradients.forms.items():
            if len({rates[name] for name in block}) == 1:
                forms[block] = multiplied(form, math.sqrt(rates[block[0]]))
                continue
            parts = form.split([self._shapes[name].numel() for name in block])
            for name, part in zip(block, parts, strict=True):
                forms[(name,)] = multiplied(part, math.sqrt(rates[name]))
        return Gradients(forms, gradients.batch_size, gradients.like)
