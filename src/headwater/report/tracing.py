"""The strongest proponents and opponents of training examples, among the other ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.report.ask import arguments_of
from headwater.report.votes import VOTERS, Traced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

    from headwater.estimators import TracInCPBase
    from headwater.estimators.streamed import Streamed

# Examples that are asked about in one pass over the training data.
_AT_ONCE = 64


def traced(
    estimator: TracInCPBase,
    parts: Streamed,
    places: Sequence[int],
    *,
    k: int,
    show_progress: bool,
) -> dict[int, Traced]:
    """By place, what taught a training example its given label, and what spoke against it.

    Args:
        estimator: the estimator.
        parts: its parts.
        places: of the training examples to ask about.
        k: how many proponents to keep; of opponents those that vote.
        show_progress: whether there are bars.
    """
    found: dict[int, Traced] = {}
    for start in range(0, len(places), _AT_ONCE):
        some = list(places[start : start + _AT_ONCE])
        data = parts.data.subset(some)
        at = 0
        for batch in data.batches(data.batch_size or _AT_ONCE):
            scores = estimator.attribute(
                **arguments_of(estimator, batch), show_progress=show_progress
            )
            # One more, for an example is its own strongest proponent.
            both = scores.top_k(max(k, VOTERS) + 1, side="both").parts
            for row in range(len(both["proponents"][0])):
                place = some[at]
                at += 1
                sides = [
                    _others(place, indices[row], values[row])
                    for indices, values in (both["proponents"], both["opponents"])
                ]
                proponents = [(other, score) for other, score in sides[0] if score > 0]
                opponents = [(other, score) for other, score in sides[1] if score < 0]
                found[place] = Traced(proponents[:k], opponents)
    return found


def _others(
    place: int, indices: Int[Tensor, " K"], scores: Float[Tensor, " K"]
) -> list[tuple[int, float]]:
    pairs = zip(indices.tolist(), scores.tolist(), strict=True)
    return [(other, score) for other, score in pairs if other != place]
