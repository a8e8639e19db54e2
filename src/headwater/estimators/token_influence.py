"""Scores token by token: which tokens of a text push which query, or of a query are pushed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from headwater.engine import PairScores, WholeBatches
from headwater.engine.token_copies import TokenCopies
from headwater.errors import InputError
from headwater.estimators.streamed import size_of_queries
from headwater.tasks import TokenTask
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from headwater.estimators.streamed import Streamed
    from headwater.tasks import Task

# Copies of a query that go through the model at a time.
_QUERY_COPIES = 16


class TokenInfluence(NamedTuple):
    """Scores by token, for some training examples of each query.

    Attributes:
        scores: influence scores, which add up to the example's over the last axis; zero where
            there is no token, and at tokens without a loss. Position s is the token's own, in the
            labels of its text: that of the training example, or of the query.
        tokens: the label at each position; the task's `ignore_index` where there is none.
        indices: the training examples' places in the training data.
    """

    scores: Float[Tensor, "Q E S"]
    tokens: Int[Tensor, "Q E S"]
    indices: Int[Tensor, "Q E"]


def token_influence(
    parts: Streamed,
    task: Task,
    batch: Any,
    indices: Any,
    *,
    of: Literal["training", "query"],
    show_progress: bool,
) -> TokenInfluence:
    """As the method `token_influence` of estimators.

    Args:
        parts: the estimator's.
        task: what is differentiated for a query.
        batch: the queries.
        indices, of, show_progress: as there.
    """
    if of not in ("training", "query"):
        raise InputError(f"of is {of!r}; expected 'training' or 'query'")
    if not isinstance(task, TokenTask):
        raise InputError(
            f"scores by token need a loss that is a sum over tokens, and the estimator's is that "
            f"of {type(parts.task).__name__}; pass it a task such as "
            f"headwater.tasks.CausalLanguageModelling()"
        )
    queries = size_of_queries(task, batch)
    asked = _examples_of(indices, queries, parts.data.count)
    examples, columns = asked.unique(return_inverse=True)
    if of == "training":
        texts = [_alone(parts, place) for place in examples.tolist()]
        copies = TokenCopies(texts, task, parts.net, parts.data.batch_size or "auto")
        flat = parts.with_data(copies).scores(task, batch, show_progress=show_progress)
        rows, tokens = _by_text(flat, copies)
        each = torch.arange(queries)[:, None]
        return TokenInfluence(rows[columns, each], tokens[columns], asked)
    texts = [task.examples(batch, q, q + 1, size=queries) for q in range(queries)]
    copies = TokenCopies(texts, task, parts.net, _QUERY_COPIES)
    device = next(parts.net.parameters()).device
    pieces = [
        (borrow(piece, device), _size(task, piece)) for piece in copies.batches(_QUERY_COPIES)
    ]
    some = parts.with_data(parts.data.subset(examples.tolist()))
    flat = some.all_of(
        lambda: PairScores(WholeBatches(task, pieces)), show_progress=show_progress
    ).mT
    rows, tokens = _by_text(flat, copies)
    each = torch.arange(queries)[:, None]
    scores = rows[each, columns]
    return TokenInfluence(scores, tokens[each].expand_as(scores), asked)


def _examples_of(indices: Any, queries: int, count: int | None) -> Int[Tensor, "Q E"]:
    """The training examples that are asked for, for each query."""
    expected = f"expected ints, (E,) for all queries or ({queries}, K) for each"
    try:
        asked = torch.as_tensor(indices).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"indices is a {type(indices).__name__}; {expected}") from error
    if asked.is_floating_point() or asked.dtype == torch.bool or not asked.numel():
        raise InputError(
            f"indices has shape {tuple(asked.shape)} and type {asked.dtype}; {expected}"
        )
    if asked.dim() == 1:
        asked = asked.expand(queries, -1)
    if asked.dim() != 2 or asked.shape[0] != queries:
        raise InputError(f"indices has shape {tuple(asked.shape)}; {expected}")
    low, high = int(asked.min()), int(asked.max())
    if low < 0 or (count is not None and high >= count):
        odd = low if low < 0 else high
        raise InputError(
            f"indices has {odd}; expected places of training examples, from 0 to "
            f"{'N' if count is None else count} - 1"
        )
    return asked.long()


def _alone(parts: Streamed, place: int) -> Any:
    return next(iter(parts.data.subset([place]).batches(1)))


def _size(task: Task, batch: Any) -> int:
    size = task.size(batch)
    assert size is not None, "copies have labels, a row each"
    return size


def _by_text(
    flat: Float[Tensor, "R T"], copies: TokenCopies
) -> tuple[Float[Tensor, "M R S"], Int[Tensor, "M S"]]:
    """Columns of single tokens in their places, by text, and the tokens' labels."""
    longest = max(len(targets) for targets in copies.targets)
    rows = flat.new_zeros(len(copies.targets), len(flat), longest)
    tokens = copies.targets[0].new_full((len(copies.targets), longest), copies.no_label)
    start = 0
    for text, (targets, places) in enumerate(zip(copies.targets, copies.places, strict=True)):
        rows[text][:, places] = flat[:, start : start + len(places)]
        tokens[text, : len(targets)] = targets
        start += len(places)
    return rows, tokens.cpu()
