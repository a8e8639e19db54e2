"""What a top-k question returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headwater.query import TopK

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class KMostInfluentialResults(NamedTuple):
    """For each query the most influential training examples, strongest first.

    Attributes:
        indices: the examples' places in the training data, int64.
        influence_scores: their scores, highest first for proponents, lowest first for opponents.
    """

    indices: Int[Tensor, "Q K"]
    influence_scores: Float[Tensor, "Q K"]

    @classmethod
    def among(
        cls, scores: Float[Tensor, "Q N"], *, k: int, proponents: bool
    ) -> KMostInfluentialResults:
        """The k highest or lowest of each query's scores, ties in the order of the data."""
        sink = TopK(len(scores), k=k, side="proponents" if proponents else "opponents")
        sink.add(0, scores)
        return cls(*sink.result())
