"""Why the model predicted what it did: a query's proponents and opponents, and their shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from headwater.report.ask import arguments_of
from headwater.report.shares import Cumulative, GroupShare, by_group, cumulative
from headwater.results.names import grouped
from headwater.tasks import TokenTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

    from headwater.estimators import TracInCPBase

# Texts of each side whose tokens are told apart: each takes a pass per token and checkpoint.
_TEXTS = 3

Tokens = list[tuple[str, float]]


@dataclass(frozen=True)
class Explanation:
    """What is behind one query.

    Attributes:
        proponents: training examples' places and scores, strongest first.
        opponents: likewise.
        curve: how few of all examples carry how much.
        shares: by column, such as "label", what groups of examples add up to.
        tokens: by training example's place, each token and its part in the score.
    """

    proponents: list[tuple[int, float]]
    opponents: list[tuple[int, float]]
    curve: Cumulative
    shares: dict[str, list[GroupShare]]
    tokens: dict[int, Tokens]


def explanations(
    estimator: TracInCPBase,
    batch: Any,
    columns: Mapping[str, Sequence[Any]],
    *,
    k: int,
    decode: Any,
    show_progress: bool,
) -> list[Explanation]:
    """What is behind each query of a batch.

    Args:
        estimator: the estimator.
        batch: the queries.
        columns: by which shares are told, an entry per training example.
        k: how many examples to name of each side.
        decode: makes a text of a list of ids of tokens; None shows ids.
        show_progress: whether there are bars.
    """
    arguments = arguments_of(estimator, batch)
    scores = estimator.attribute(**arguments, show_progress=show_progress).tensor()
    groups = {name: grouped(list(column)) for name, column in columns.items()}
    found = []
    sides = [_side(scores, k, largest=largest) for largest in (True, False)]
    tokens = _tokens(estimator, arguments, sides, decode=decode)
    for row, own in enumerate(scores):
        shares = {
            name: by_group(own, torch.tensor(of_each), values)
            for name, (values, of_each) in groups.items()
        }
        pairs = [
            list(zip(places[row].tolist(), own[places[row]].tolist(), strict=True))
            for places in sides
        ]
        found.append(
            Explanation(
                [(place, score) for place, score in pairs[0] if score > 0],
                [(place, score) for place, score in pairs[1] if score < 0],
                cumulative(own),
                shares,
                tokens[row] if tokens else {},
            )
        )
    return found


def _side(scores: Float[Tensor, "Q N"], k: int, *, largest: bool) -> Int[Tensor, "Q K"]:
    # Stable, as top-k of estimators is: ties in the order of the training data.
    order = scores.argsort(dim=1, descending=largest, stable=True)
    return order[:, : min(k, scores.shape[1])]


def _tokens(
    estimator: TracInCPBase,
    arguments: Mapping[str, Any],
    sides: Sequence[Int[Tensor, "Q K"]],
    *,
    decode: Any,
) -> list[dict[int, Tokens]]:
    task = estimator._loss_task
    if not isinstance(task, TokenTask):
        return []
    indices = torch.cat([places[:, :_TEXTS] for places in sides], dim=1)
    found = estimator.token_influence(arguments["inputs"], indices)
    texts: list[dict[int, Tokens]] = []
    for row, places in enumerate(indices.tolist()):
        by_place = {}
        for column, place in enumerate(places):
            counts = found.tokens[row, column] != task.ignore_index
            labels = found.tokens[row, column][counts].tolist()
            pushed = found.scores[row, column][counts].tolist()
            by_place[place] = list(zip(words(labels, decode), pushed, strict=True))
        texts.append(by_place)
    return texts


def words(labels: Sequence[int], decode: Any) -> list[str]:
    """What each token adds to its text, with spaces that a token decoded alone doesn't have.

    Args:
        labels: ids of the tokens.
        decode: makes a text of a list of ids; None leaves ids.
    """
    if decode is None:
        return [f" {label}" for label in labels]
    found, before = [], ""
    for count, label in enumerate(labels, start=1):
        after = str(decode(list(labels[:count])))
        # Some tokenizers tidy up what stood before; then the token is shown as it is alone.
        found.append(after[len(before) :] if after.startswith(before) else str(decode([label])))
        before = after
    return found
