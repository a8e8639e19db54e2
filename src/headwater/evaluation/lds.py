"""The linear datamodeling score: do sums of scores rank subsets as retraining does?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from headwater.errors import InputError
from headwater.evaluation.ceiling import noise_ceiling
from headwater.evaluation.interval import Interval
from headwater.evaluation.ranks import Ranked, pearson, spearman
from headwater.evaluation.scores_given import Axes, scores_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float
    from torch import Tensor

    from headwater.evaluation.bank import RetrainedBank

_RESAMPLES = 1000
_TAIL = 0.025


@dataclass(frozen=True)
class LDS(Interval):
    """A linear datamodeling score.

    Attributes:
        ceiling: what no scores can pass, since the rest is noise of the seeds; None if the bank has
            a single run per subset, from which it can't be known.
        per_query: each query's own rank correlation, (Q,).
        quantity: what of the queries was predicted.
        purpose: of the bank, "report" or "tuning".
    """

    ceiling: float | None
    per_query: Float[Tensor, " Q"]
    quantity: str
    purpose: str

    def __str__(self) -> str:
        ceiling = "unknown" if self.ceiling is None else f"{self.ceiling:.3f}"
        return f"{super().__str__()}, ceiling {ceiling}"


def linear_datamodeling_score(
    scores: Any,
    bank: RetrainedBank,
    *,
    quantity: str = "loss",
    ids: Sequence[Any] | None = None,
    query_ids: Sequence[Any] | None = None,
    axes: Axes = "QN",
    seed: int = 0,
) -> LDS:
    """How well sums of scores rank the bank's subsets.

        LDS = mean over q of Spearman over j of (sum over n in S_j of score(q, n), f_j(q))

    f_j(q) is the mean over the runs of subset j of the query's negative loss or margin: positive
    scores are those that lower a loss. The interval is a bootstrap's over subsets and queries, both
    drawn anew 1,000 times.

    Args:
        scores: `headwater.Scores`, or an array (Q, N) of any library.
        bank: the retrained models.
        quantity: "loss", or "margin".
        ids, query_ids, axes: see `scores_matrix`; ids are places, from 0.
        seed: of the bootstrap.

    Raises:
        InputError: the scores don't fit the bank, or it didn't measure the quantity.

    Source: Park et al. (2023), arXiv 2303.14186, definition 2.4. Differs: the intervals and the
        ceiling.
    """
    matrix = scores_matrix(
        scores,
        queries=bank.queries,
        examples=bank.count,
        ids=ids,
        query_ids=query_ids,
        axes=axes,
    )
    measured = upwards(bank, quantity)
    predicted = sums_over_subsets(matrix, bank.membership)
    actual = measured.mean(dim=0).mT
    per_query = spearman(predicted, actual)
    low, high = bootstrap(predicted, actual, seed=seed)
    ceiling = 1.0 if bank.deterministic else noise_ceiling(measured)
    return LDS(
        float(per_query.mean()), low, high, ceiling, per_query, quantity, bank.subsets.purpose
    )


def upwards(bank: RetrainedBank, quantity: str) -> Float[Tensor, "R M Q"]:
    """What was measured, with the sign with which more is better."""
    measured = bank.measured(quantity)
    return -measured if quantity == "loss" else measured


def sums_over_subsets(
    scores: Float[Tensor, "Q N"], membership: Bool[Tensor, "M N"]
) -> Float[Tensor, "Q M"]:
    """Each query's sum of scores over each subset.

    Rounded to 12 digits, so that sums that are equal but for the order of their terms tie.
    """
    sums = scores.double() @ membership.double().mT
    scale = scores.double().abs().sum(dim=1, keepdim=True)
    unit = torch.where(scale > 0, scale, 1.0) * 1e-12
    return (sums / unit).round() * unit


def bootstrap(
    predicted: Float[Tensor, "Q M"],
    actual: Float[Tensor, "Q M"],
    *,
    seed: int = 0,
    resamples: int = _RESAMPLES,
) -> tuple[float, float]:
    """The interval of 95 % of the mean rank correlation, over subsets and queries.

    Subsets and queries are drawn with replacement, independently. A subset that was drawn twice
    counts twice in the ranks.

    Raises:
        InputError: there are fewer than 3 subsets.
    """
    rows, subsets = predicted.shape
    if subsets < 3:
        raise InputError(f"there are {subsets} subsets; an interval needs at least 3")
    generator = torch.Generator().manual_seed(seed)
    left, right = Ranked(predicted), Ranked(actual)
    means = torch.empty(resamples, dtype=torch.float64)
    for number in range(resamples):
        drawn = torch.randint(subsets, (subsets,), generator=generator)
        counts = torch.bincount(drawn, minlength=subsets).double()
        each = pearson(left.ranks(counts), right.ranks(counts), counts)
        queries = torch.randint(rows, (rows,), generator=generator)
        means[number] = each[queries].mean()
    low, high = torch.quantile(means, torch.tensor([_TAIL, 1 - _TAIL], dtype=torch.float64))
    return float(low), float(high)
