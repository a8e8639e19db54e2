"""Scores of any origin, in the order of a bank's training examples and queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.errors import InputError, NonFiniteError
from headwater.estimators import KMostInfluentialResults
from headwater.results import Scores
from headwater.results.top_scores import TopScores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

Axes = Literal["QN", "NQ"]

TRANSPOSE = "transpose them"
"""The advice where nobody can say how scores are laid out."""


def scores_matrix(
    scores: Any,
    *,
    queries: int,
    examples: int,
    ids: Sequence[Any] | None = None,
    query_ids: Sequence[Any] | None = None,
    axes: Axes = "QN",
    expected_ids: Sequence[Any] | None = None,
    expected_query_ids: Sequence[Any] | None = None,
    swapped: str | None = None,
) -> Float[Tensor, "Q N"]:
    """The scores as a matrix in float64, a row per query and a column per training example.

    Args:
        scores: `headwater.Scores`; or an array of numbers of another library, with positive
            scores for proponents.
        queries: Q.
        examples: N.
        ids: what training example each column is of; None takes them to be in their order.
        query_ids: what query each row is of, likewise.
        axes: how an array is laid out: "QN", a row per query; or "NQ", a row per training example.
        expected_ids: the ids of the training examples in their order; None for 0 to N - 1.
        expected_query_ids: those of the queries, likewise.
        swapped: what an error advises where rows and columns are the other way round; None: the
            other `axes`, which not every caller of a caller can pass.

    Raises:
        InputError: shapes or ids don't fit.
        NonFiniteError: a score is NaN or infinite.
    """
    if axes not in ("QN", "NQ"):
        raise InputError(f"axes is {axes!r}; expected 'QN' or 'NQ'")
    if swapped is None:
        swapped = "pass axes='NQ'" if axes == "QN" else "pass axes='QN'"
    if isinstance(scores, (KMostInfluentialResults, TopScores)):
        raise InputError(
            f"scores are a {type(scores).__name__}, the highest or lowest of each query; expected "
            f"the scores of all {examples:,} training examples: influence(...) without k"
        )
    if isinstance(scores, Scores):
        matrix = scores.tensor()
        if expected_ids is not None and ids is None:
            ids = scores.ids
        if expected_query_ids is not None and query_ids is None:
            query_ids = scores.query_ids or None
    else:
        matrix = _numbers(scores)
        if matrix.dim() == 2 and axes == "NQ":
            matrix = matrix.mT
    matrix = matrix.double()
    rows = queries if query_ids is None else len(query_ids)
    columns = examples if ids is None else len(ids)
    if matrix.shape != (rows, columns):
        # In the caller's own layout, in which the shape is what they know of it.
        by_example = axes == "NQ" and matrix.dim() == 2
        came = tuple(matrix.mT.shape if by_example else matrix.shape)
        sides = [f"{rows:,} queries", f"{columns:,} training examples"]
        wanted = sides[::-1] if axes == "NQ" else sides
        row = "query" if axes == "NQ" else "training example"
        raise InputError(
            f"scores have shape {came}; expected {wanted[0]} x {wanted[1]}"
            + (
                f"; with a row per {row}, {swapped}"
                if matrix.shape == (columns, rows) and rows != columns
                else ""
            )
        )
    if ids is not None:
        matrix = matrix[:, _places(ids, expected_ids, examples, "training example")]
    if query_ids is not None:
        matrix = matrix[_places(query_ids, expected_query_ids, queries, "query")]
    if not bool(matrix.isfinite().all()):
        query, example = matrix.isfinite().logical_not().nonzero()[0].tolist()
        raise NonFiniteError(
            f"the score of query {query} and training example {example} is NaN or infinite"
        )
    return matrix


def _numbers(scores: Any) -> Tensor:
    try:
        return torch.as_tensor(scores).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"scores are a {type(scores).__name__}, which isn't an array of numbers ({error}); "
            f"expected headwater.Scores, or an array (Q, N)"
        ) from error


def _places(ids: Sequence[Any], expected: Sequence[Any] | None, count: int, kind: str) -> list[int]:
    """Where each of the expected ids stands among those that came."""
    wanted = list(range(count)) if expected is None else list(expected)
    came = [one.item() if hasattr(one, "item") else one for one in ids]
    places = {one: place for place, one in enumerate(came)}
    if len(places) < len(came):
        twice = next(one for place, one in enumerate(came) if places[one] != place)
        raise InputError(f"the ids name {kind} {twice!r} twice")
    missing = next((one for one in wanted if one not in places), None)
    if missing is not None:
        raise InputError(f"there are no scores of {kind} {missing!r} among the ids")
    return [places[one] for one in wanted]
