"""Captum's questions to an exact estimator of headwater's."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Literal

from headwater.compat.captum.batches import as_data, as_queries
from headwater.engine import PairScores, SummedScores
from headwater.estimators import KMostInfluentialResults
from headwater.estimators.misplaced import refuse_odd_k

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.engine import Quantity
    from headwater.estimators.streamed import Streamed
    from headwater.tasks import Task


def checked_k(k: Any) -> int | None:
    """`k` as an int; integers of numpy count.

    Raises:
        InputError: it is negative, or no integer.
    """
    whole = (
        k if k is None or isinstance(k, bool) or not hasattr(k, "__index__") else operator.index(k)
    )
    refuse_odd_k(whole)
    return whole


class Answers:
    """Scores, top-k and self-influence, for batches and loaders of them.

    Args:
        parts: the estimator's.
        query_task: what is differentiated for a query.
    """

    def __init__(self, parts: Streamed, query_task: Task) -> None:
        self._parts = parts
        self._query_task = query_task
        self._device = next(parts.net.parameters()).device

    def influence(
        self,
        inputs: Any,
        k: int | None,
        proponents: bool,
        *,
        show_progress: bool,
        aggregate: bool = False,
    ) -> Float[Tensor, "Q N"] | KMostInfluentialResults:
        """See `TracInCPBase.influence`.

        Args:
            aggregate: whether all queries are summed to one.
            inputs, k, proponents, show_progress: as there.
        """
        k = checked_k(k)

        def quantity() -> Quantity:
            queries = as_queries(
                self._query_task, inputs, self._device, order_matters=not aggregate
            )
            return SummedScores(queries) if aggregate else PairScores(queries)

        if k is None:
            return self._parts.all_of(quantity, show_progress=show_progress).to(self._device)
        side: Literal["proponents", "opponents"] = "proponents" if proponents else "opponents"
        top = self._parts.k_most_of(quantity, k=k, side=side, show_progress=show_progress)
        return KMostInfluentialResults(*(part.to(self._device) for part in top))

    def self_influence(self, inputs: Any, *, show_progress: bool) -> Float[Tensor, " N"]:
        """See `TracInCPBase.self_influence`."""
        parts = self._parts
        if inputs is not None:
            parts = parts.with_data(as_data(inputs, order_matters=True))
        return parts.self_influence(show_progress=show_progress).to(self._device)
