"""Whether scores find the training examples that a query's answer stands in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.errors import InputError
from headwater.evaluation.marks import marks
from headwater.evaluation.scores_given import TRANSPOSE, scores_matrix

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def recall_at_k(scores: Any, relevant: Any, k: int) -> float:
    """The share of a query's relevant training examples among its k highest scores, averaged.

    Ties go to the lower place. A query with more than k relevant ones can't reach 1.

    Args:
        scores: `headwater.Scores`, or an array (Q, N).
        relevant: which training examples each query is after, True or False for each, (Q, N), as
            an array or lists; each query has some.
        k: at least 1.

    Raises:
        InputError: shapes don't fit, k is less than 1, or a query has no relevant example.
    """
    if k < 1:
        raise InputError(f"k is {k}; expected at least 1")
    found = _sorted_relevance(scores, relevant)
    return float((found[:, :k].sum(dim=1) / found.sum(dim=1)).mean())


def mean_reciprocal_rank(scores: Any, relevant: Any) -> float:
    """The mean over queries of 1 / rank of the first relevant training example.

    Raises:
        InputError: as for `recall_at_k`.
    """
    first: Int[Tensor, " Q"] = _sorted_relevance(scores, relevant).argmax(dim=1)
    return float((1 / (first + 1).double()).mean())


def _sorted_relevance(scores: Any, relevant: Any) -> Float[Tensor, "Q N"]:
    chosen = marks(relevant, "relevant", shape="(Q, N)")
    queries, examples = chosen.shape
    matrix = scores_matrix(scores, queries=queries, examples=examples, swapped=TRANSPOSE)
    none = chosen.any(dim=1).logical_not()
    if bool(none.any()):
        raise InputError(f"query {int(none.nonzero()[0])} has no relevant training example")
    order = matrix.argsort(dim=1, descending=True, stable=True)
    return chosen.gather(1, order).double()
