"""Which checkpoints count: where the model has learnt, and not yet by heart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.checkpoints.recording.recommend import recommended
from headwater.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

    from headwater.checkpoints import BoundSeries

# Forward passes over the training data that are taken to choose among checkpoints.
CANDIDATES = 20
_FEWEST = 3


def candidates(series: BoundSeries) -> BoundSeries:
    """At most 20 of the checkpoints, spread evenly over training.

    Raises:
        InputError: they come from a generator.
    """
    if not series.replayable or series.count is None:
        raise InputError(
            "the checkpoints come from a generator, and are needed more than once; pass a list"
        )
    if series.count <= CANDIDATES:
        return series
    recording = series.recording
    steps = range(series.count) if recording is None else recording.steps
    places, _ = recommended(steps, [None] * series.count, [1.0] * series.count, CANDIDATES)
    return series.picked(places)


def agreement(predicted: Int[Tensor, "C N"], independent: Int[Tensor, " N"]) -> Float[Tensor, " C"]:
    """By checkpoint, the share of examples of which the model predicts the independent label.

    Independent of the example's own label: what others like it say. While the model learns what
    examples have in common this share rises; when it learns wrong labels by heart it falls.
    """
    return (predicted == independent[None]).double().mean(dim=1)


def chosen(
    agreements: Float[Tensor, " C"], names: Sequence[str], n: int, count: int
) -> tuple[list[int], str]:
    """The places of the checkpoints to look at, ascending, and the reason why these.

    Those whose agreement is within two standard errors of the highest, or the three highest; of
    more than n, n spread evenly.

    Args:
        agreements: by checkpoint, as `agreement` has them.
        names: of the checkpoints.
        n: how many at the most, at least 1.
        count: of how many examples the agreements are, N.

    Raises:
        InputError: n is no positive int.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise InputError(f"n_checkpoints is {n!r}; expected a positive int")
    best = float(agreements.max())
    error = (best * (1 - best) / max(1, count)) ** 0.5
    near = (agreements >= best - 2 * error).nonzero().flatten().tolist()
    if len(near) < _FEWEST:
        near = sorted(agreements.argsort(descending=True, stable=True)[:_FEWEST].tolist())
    places = near
    if len(near) > n:
        places = [
            near[place] for place in torch.linspace(0, len(near) - 1, n).round().int().tolist()
        ]
        places = sorted(agreements.argsort(descending=True)[:1].tolist()) if n == 1 else places
    lowest = float(agreements[places].min())
    between = f"{best:.0%}" if f"{lowest:.0%}" == f"{best:.0%}" else f"{lowest:.0%} to {best:.0%}"
    return places, (
        f"{len(places)} of {len(names)} checkpoints: {', '.join(names[p] for p in places)}. "
        f"There the model predicts the label that similar examples have for {between} of the "
        f"training examples; earlier it has learnt less, later it knows labels by heart."
    )
