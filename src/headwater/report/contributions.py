"""What each checkpoint contributes to self-influence."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from headwater.capture import Capture, PlanChanged, borrowed
from headwater.estimators.stored.writing import gradient_pass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.estimators.streamed import Streamed
    from headwater.report.outputs import Visited


def contributions(
    parts: Streamed, places: Sequence[int], checkpoints: Sequence[Visited]
) -> Float[Tensor, "C M"]:
    """Each checkpoint's term in the self-influence of some training examples.

    Args:
        parts: an estimator's.
        places: of the training examples.
        checkpoints: with the rates by which they are weighed.
    """
    exact = parts.with_form(None)
    capture = Capture(exact.net, exact.selection)
    norms: list[Tensor] | None = None
    while norms is None:
        with suppress(PlanChanged):
            norms = _squared_norms(exact, capture, places)
    # Rates of several parameters are in their gradients already.
    rates = [one.rates[0] if len(one.rates) == 1 else 1.0 for one in checkpoints]
    weights = torch.tensor(rates, dtype=torch.float64)
    return torch.cat(norms, dim=1) * weights[:, None]


def _squared_norms(parts: Streamed, capture: Capture, places: Sequence[int]) -> list[Tensor]:
    data = parts.data.subset(places)
    passing = gradient_pass(parts, capture, data, parts.task, kind="training example")
    with borrowed(parts.net), passing.begun(batch_size=None, skip=0) as (_, recorded):
        return [
            torch.stack([one.squared_norm().double().cpu() for one in batch.by_checkpoint])
            for batch in recorded
        ]
