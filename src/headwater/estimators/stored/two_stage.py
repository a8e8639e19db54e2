"""The second stage of a search: candidates from a store, scored exactly from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.estimators.stored.answers import rank

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from headwater.estimators.streamed import Streamed
    from headwater.tasks import Task


def recomputed(
    parts: Streamed,
    task: Task,
    batch: Any,
    indices: Int[Tensor, "Q M"],
    scores: Float[Tensor, "Q M"],
    *,
    ordinals: Int[Tensor, " N"],
    built: int,
    k: int,
    side: Literal["proponents", "opponents"],
) -> tuple[Int[Tensor, "Q K"], Float[Tensor, "Q K"], Bool[Tensor, "Q K"]]:
    """The strongest candidates of every query, and which of their scores are exact.

    Args:
        parts: the estimator's, with exact gradients.
        task: what is differentiated for a query.
        batch: the queries.
        indices: the candidates of every query, places among the store's examples.
        scores: theirs, from the store.
        ordinals: by place, how many examples were added to the store before.
        built: how many the estimator's own data has; what was added later keeps its scores.
        k: how many to return.
        side: whether the highest or the lowest.
    """
    candidates = indices.unique()
    own = candidates[ordinals[candidates] < built]
    computed = scores.new_empty(len(scores), 0)
    if len(own):
        data = parts.data.subset(ordinals[own].tolist())
        exact = parts.with_data(data).scores(task, batch, show_progress=False)
        computed = exact.to(torch.promote_types(exact.dtype, scores.dtype))
    ranked = []
    for query in range(len(indices)):
        others = torch.isin(indices[query], own).logical_not()
        places = torch.cat([own, indices[query][others]])
        values = torch.cat([computed[query], scores[query][others].to(computed.dtype)])
        order = places.argsort()
        ranked.append(rank(places[order], values[order][None], k=k, side=side))
    best, values = (torch.cat(column) for column in zip(*ranked, strict=True))
    return best, values, torch.isin(best, own)
