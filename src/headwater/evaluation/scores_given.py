"""Scores of any origin, in the order of a bank's training examples and queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.errors import InputError, NonFiniteError
from headwater.results import Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

Axes = Literal["QN", "NQ"]


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

    Raises:
        InputError: shapes or ids don't fit.
        NonFiniteError: a score is NaN or infinite.
    """
    if axes not in ("QN", "NQ"):
        raise InputError(f"axes is {axes!r}; expected 'QN' or 'NQ'")
    if isinstance(scores, Scores):
        matrix = scores.tensor()
        if expected_ids is not None and ids is None:
            ids = scores.ids
        if expected_query_ids is not None and query_ids is None:
            query_ids = scores.query_ids or None
    else:
        matrix = torch.as_tensor(scores).detach().cpu()
        if matrix.dim() == 2 and axes == "NQ":
            matrix = matrix.mT
    matrix = matrix.double()
    rows = queries if query_ids is None else len(query_ids)
    columns = examples if ids is None else len(ids)
    if matrix.shape != (rows, columns):
        swapped = matrix.shape == (columns, rows)
        raise InputError(
            f"scores have shape {tuple(matrix.shape)}; expected {rows} queries x {columns} "
            f"training examples"
            + ("; with a row per training example, pass axes='NQ'" if swapped else "")
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
