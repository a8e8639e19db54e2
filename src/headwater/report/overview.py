"""Figures of a whole run: how self-influence is spread, and how fast it brings up wrong labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

_BINS = 40
_POINTS = 120


def histogram(scores: Float[Tensor, " N"], wrong: Bool[Tensor, " N"] | None) -> dict[str, Any]:
    """How many examples have a score of what size, in bins on a logarithmic scale.

    Scores of zero, and below, are counted apart. Where the truth is known, `wrong` is how many of
    a bin have a wrong label.
    """
    scores = scores.double()
    positive = scores > 0
    found: dict[str, Any] = {"zero": int((~positive).sum()), "bins": []}
    if not bool(positive.any()):
        return found
    logs = scores[positive].log10()
    low, high = float(logs.min()), float(logs.max())
    width = (high - low) / _BINS or 1.0
    places = ((logs - low) / width).long().clamp(0, _BINS - 1)
    counts = torch.bincount(places, minlength=_BINS).tolist()
    flagged = [None] * _BINS
    if wrong is not None:
        flagged = torch.bincount(places[wrong[positive]], minlength=_BINS).tolist()
    found["bins"] = [
        {
            "low": 10 ** (low + width * place),
            "high": 10 ** (low + width * (place + 1)),
            "count": count,
            "wrong": bad,
        }
        for place, (count, bad) in enumerate(zip(counts, flagged, strict=True))
    ]
    return found


def found_curves(
    rankings: Mapping[str, Float[Tensor, " N"]], wrong: Bool[Tensor, " N"]
) -> list[dict[str, Any]]:
    """By ranking, the share of wrong labels among the first examples checked.

    Each has its curve, the area under it as a rank statistic (AUROC: how often a wrong label stands
    before a right one), and the shares found at 10 % and 20 %.
    """
    count, bad = len(wrong), int(wrong.sum())
    steps = sorted({round(i * count / _POINTS) for i in range(1, _POINTS + 1)} - {0})
    curves = []
    for name, scores in rankings.items():
        order = scores.double().argsort(descending=True, stable=True)
        found = wrong[order].cumsum(dim=0).double() / max(1, bad)
        curves.append(
            {
                "name": name,
                "checked": [0.0, *[step / count for step in steps]],
                "found": [0.0, *[float(found[step - 1]) for step in steps]],
                "auroc": _auroc(scores, wrong),
                "at": [float(found[max(1, round(share * count)) - 1]) for share in (0.1, 0.2)],
            }
        )
    return curves


def _auroc(scores: Float[Tensor, " N"], wrong: Bool[Tensor, " N"]) -> float | None:
    bad = int(wrong.sum())
    good = len(wrong) - bad
    if not bad or not good:
        return None
    values, places = scores.double().unique(return_inverse=True)
    sizes = torch.bincount(places, minlength=len(values)).double()
    # Ties share the mean of their ranks.
    ranks = (sizes.cumsum(dim=0) - (sizes - 1) / 2)[places]
    return float((ranks[wrong].sum() - bad * (bad + 1) / 2) / (bad * good))


def heat_map(
    matrix: Float[Tensor, "G H"], rows: Sequence[Any], columns: Sequence[Any]
) -> dict[str, Any]:
    """Mean scores of training examples of one class on queries of another."""
    return {
        "queries": [str(one) for one in rows],
        "examples": [str(one) for one in columns],
        "means": [[float(f"{x:.4g}") for x in row] for row in matrix.tolist()],
    }
