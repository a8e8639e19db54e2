"""Whether scores are the same: held against a plain autograd loop, and against headwater's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchmarks.own import estimator
from benchmarks.smaller import with_training
from benchmarks.workloads import cross_entropy
from headwater.evaluation.ranks import spearman
from tests.oracles import tracin

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchmarks.workloads import Case

# Of the largest score.
TOLERANCE = 1e-3
# How many training examples, the first ones, scores over some parameters only are computed of.
COVERED = 64


def from_autograd(case: Case, scores: Tensor) -> float:
    """The largest difference from the autograd loop over 4 x 2 pairs, relative to the largest."""
    workload = case.workload
    model = workload.build().double().eval()
    names = tracin.trainable_names(model)
    if workload.final_layer is not None:
        names = [name for name in names if name.startswith(f"{workload.final_layer}.")]
    training = [len(case.training[1]) * place // 4 for place in range(4)]
    queries = [0, len(case.queries[1]) - 1]

    def loss(model: nn.Module, example: tuple[Tensor, Tensor]) -> Tensor:
        return cross_entropy(model(example[0][None]), example[1][None])

    def some(part: tuple[Tensor, Tensor], places: list[int]) -> list[tuple[Tensor, Tensor]]:
        inputs, targets = part
        if inputs.is_floating_point():
            inputs = inputs.double()
        return [(inputs[place], targets[place]) for place in places]

    states = [{name: tensor.double() for name, tensor in state.items()} for state in case.states]
    expected = tracin.influence_scores(
        model,
        list(zip(states, workload.rates, strict=True)),
        loss,
        some(case.training, training),
        some(case.queries, queries),
        names,
    )
    found = scores[queries][:, training].double()
    return float((found - expected).abs().max() / expected.abs().max())


@dataclass(frozen=True)
class Difference:
    """How far scores are from others, relative to the largest of the others.

    Attributes:
        largest: over all scores.
        median: over the rows (the queries, or the examples of self-influence) of each row's
            largest. One that is far below `largest` speaks of single examples: where an activation
            is zero but for rounding, ReLU's gradient is one or nothing.
        ranks: Spearman's correlation by row (self-influence is one), on average.
        least_ranks: the same of the row where it is least.
    """

    largest: float
    median: float
    ranks: float
    least_ranks: float

    @property
    def within(self) -> bool:
        return self.largest <= TOLERANCE


def difference(found: Tensor, expected: Tensor) -> Difference:
    """Of as many training examples (the last dimension) as both have."""
    count = min(found.shape[-1], expected.shape[-1])
    found, expected = found[..., :count].double(), expected[..., :count].double()
    if found.shape != expected.shape:
        raise ValueError(f"scores of shape {tuple(found.shape)}, not {tuple(expected.shape)}")
    apart = (found - expected).abs() / expected.abs().max()
    rows = apart.amax(dim=1) if apart.dim() == 2 else apart
    by_row = [torch.atleast_2d(scores) for scores in (found, expected)]
    alike = spearman(*by_row)
    return Difference(
        float(apart.max()), float(rows.median()), float(alike.mean()), float(alike.min())
    )


def reference(case: Case, names: list[str]) -> Tensor:
    """Scores by headwater of the first training examples, over some parameters only."""
    scores: Tensor = estimator(with_training(case, COVERED), layers=names).influence(*case.queries)  # type: ignore[assignment]
    return scores
