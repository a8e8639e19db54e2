"""How far any scores can get, when what they are held against is partly noise of the seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.evaluation.ranks import spearman

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def agreement_of_seeds(measured: Float[Tensor, "R M Q"]) -> float | None:
    """rho: the mean rank correlation over subsets between two banks of independent seeds.

    Args:
        measured: by run, subset and query; runs of a subset differ in their seeds alone.

    Returns:
        None if there is one run per subset.
    """
    runs = len(measured)
    if runs < 2:
        return None
    pairs = [
        spearman(measured[one].mT, measured[other].mT).mean()
        for one in range(runs)
        for other in range(one)
    ]
    return float(torch.stack(pairs).mean())


def noise_ceiling(measured: Float[Tensor, "R M Q"]) -> float | None:
    """The highest LDS that scores can have against the mean of the runs.

        rho_R = R rho / (1 + (R - 1) rho),    ceiling = sqrt(rho_R)

    If what is measured is a subset's own value and noise of the seed, two banks correlate by rho,
    and a bank with the values themselves by sqrt(rho). rho_R is rho for means of R runs.

    Returns:
        None if there is one run per subset; 0 where the runs don't agree at all.

    Source: Spearman (1910) and Brown (1910), the reliability of means.
    """
    rho = agreement_of_seeds(measured)
    if rho is None:
        return None
    rho, runs = max(rho, 0.0), len(measured)
    return float((runs * rho / (1 + (runs - 1) * rho)) ** 0.5)
