"""Whether a run is smooth enough for a derivative to tell what a change would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from headwater.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from headwater.replay import Query, TrainingRun

# Below it, rankings by predicted changes are others than those by true ones.
ENOUGH = 0.95


@dataclass(frozen=True)
class Smoothness:
    """Predicted and true changes of the queries' losses, of runs that were taken again.

    A change is that of the loss at the end when example weights are changed; predicted is it by the
    scores. Correlations are over all queries and changes of a kind.

    Attributes:
        removed: the training examples that were removed, each in a run of its own.
        predicted_removals, true_removals: the changes by that.
        predicted_spread, true_spread: the changes when all weights go up or down at random by
            1 / sqrt(N): as far from the run as one removal, in no single example.
    """

    removed: Int[Tensor, " R"]
    predicted_removals: Float[Tensor, "Q R"]
    true_removals: Float[Tensor, "Q R"]
    predicted_spread: Float[Tensor, "Q D"]
    true_spread: Float[Tensor, "Q D"]

    @property
    def removal_correlation(self) -> float:
        """Between predicted and true changes when single examples are removed."""
        return correlation(self.predicted_removals, self.true_removals)

    @property
    def spread_correlation(self) -> float:
        """Between predicted and true changes when all weights change a little."""
        return correlation(self.predicted_spread, self.true_spread)

    @property
    def believable(self) -> bool:
        """Whether both correlations are at least 0.95."""
        return self.removal_correlation >= ENOUGH and self.spread_correlation >= ENOUGH

    @property
    def reason(self) -> str:
        """What was found, and what to make of it."""
        found = (
            f"predicted and true changes of {len(self.true_removals)} queries' losses correlate by "
            f"{self.removal_correlation:.2f} where {len(self.removed)} single examples are removed "
            f"from the run, and by {self.spread_correlation:.2f} where all examples' weights "
            f"change a little at random"
        )
        if self.believable:
            return f"The scores can be believed: {found}."
        cause = (
            "Small changes are predicted, and removing a whole example is too large a one: there "
            "are few of them, or each moves the run far"
            if self.spread_correlation >= ENOUGH
            else "The run is too rough for its derivative to tell what a change does"
        )
        return (
            f"The scores are not to be believed: {found}; at least {ENOUGH} was expected. {cause}. "
            f"What helps: a lower learning rate, a warm-up, larger batches, GELU or tanh in place "
            f"of ReLU, a larger eps of Adam"
        )

    def __str__(self) -> str:
        return self.reason


def measured_smoothness(
    run: TrainingRun,
    query: Query,
    scores: Float[Tensor, "Q N"],
    *,
    removals: int,
    directions: int,
    seed: int,
) -> Smoothness:
    """Takes the run again with changed example weights, once per removal and per direction.

    Args:
        run: the run.
        query: the queries.
        scores: theirs.
        removals, directions, seed: see `ExactUnrolling.check`.
    """
    used = torch.tensor(sorted({place for step in run.steps for place in step.examples}))
    for name, value in (("removals", removals), ("directions", directions)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 2:
            raise InputError(f"{name} is {value!r}; expected an int of at least 2, to correlate")
    generator = torch.Generator().manual_seed(seed)
    removed = used[torch.randperm(len(used), generator=generator)[:removals]]
    ones = torch.ones(run.examples.count, dtype=scores.dtype)
    signs = torch.randint(2, (directions, len(used)), generator=generator).to(ones) * 2 - 1
    spread = torch.zeros(directions, len(ones), dtype=ones.dtype)
    spread[:, used] = signs / len(used) ** 0.5
    before = run.losses_of(query, None)

    def change(weights: Tensor) -> Tensor:
        return run.losses_of(query, weights) - before

    return Smoothness(
        removed=removed,
        predicted_removals=scores[:, removed],
        true_removals=torch.stack(
            [change(ones.index_fill(0, place[None], 0.0)) for place in removed], dim=1
        ),
        predicted_spread=-scores @ spread.T,
        true_spread=torch.stack([change(ones + direction) for direction in spread], dim=1),
    )


def correlation(predicted: Tensor, true: Tensor) -> float:
    """Pearson's, over all entries; 0 where one of them doesn't vary."""
    left, right = (part.double().flatten() - part.double().mean() for part in (predicted, true))
    scale = float(left.norm() * right.norm())
    return float(left @ right) / scale if scale else 0.0
