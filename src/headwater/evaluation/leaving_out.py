"""What removing training examples does to queries: exactly, or in a training run like the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from headwater.errors import InputError
from headwater.evaluation.convex import ConvexRetraining
from headwater.evaluation.in_memory import InMemory
from headwater.evaluation.ranks import pearson, spearman
from headwater.evaluation.run import Run
from headwater.evaluation.scores_given import Axes, scores_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

    from headwater.evaluation.retraining import Retraining


@dataclass(frozen=True)
class Removals:
    """What the removal of blocks of training examples did.

    Attributes:
        blocks: the places of each block's examples.
        changes: by seed, the rise of each query's loss without each block, (S, Q, E): positive for
            a block of proponents.
        margins: the fall of each query's margin, likewise; None where there are no margins.
        examples: N, how many training examples there are.
    """

    blocks: list[Int[Tensor, " b"]]
    changes: Float[Tensor, "S Q E"]
    margins: Float[Tensor, "S Q E"] | None
    examples: int

    def agreement(self, scores: Any, *, axes: Axes = "QN") -> Agreement:
        """How well sums of scores over the blocks predict the mean rise over the seeds.

        Args:
            scores: `headwater.Scores`, or an array (Q, N).
            axes: how an array is laid out.

        Raises:
            InputError: the scores don't fit.
        """
        _, queries, _ = self.changes.shape
        matrix = scores_matrix(scores, queries=queries, examples=self.examples, axes=axes)
        predicted = torch.stack([matrix[:, block].sum(dim=1) for block in self.blocks], dim=1)
        actual = self.changes.mean(dim=0)
        return Agreement(
            pearson=float(pearson(predicted, actual).mean()),
            spearman=float(spearman(predicted, actual).mean()),
        )

    def agreement_of_seeds(self) -> float | None:
        """The mean correlation over blocks between two seeds; None with a single one.

        Its square root is about what scores can reach against one seed.
        """
        pairs = [
            pearson(one, other).mean()
            for place, one in enumerate(self.changes)
            for other in self.changes[:place]
        ]
        return float(torch.stack(pairs).mean()) if pairs else None


@dataclass(frozen=True)
class Agreement:
    """Correlations over blocks, each the mean over the queries.

    Attributes:
        pearson: of the values.
        spearman: of their ranks.
    """

    pearson: float
    spearman: float


def leave_one_out(
    retraining: ConvexRetraining, queries: Any, *, examples: Sequence[int] | None = None
) -> Removals:
    """The rise of each query's loss when a single training example is left out, exactly.

    Only of convex models, whose minimum is found with and without the example: in a network the
    change is smaller than what another seed changes, for which there is `block_removal`.

    Args:
        retraining: to the minimum.
        queries: a Dataset, or a batch.
        examples: places of the training examples to leave out, one at a time; None takes all.

    Raises:
        InputError: it isn't a `ConvexRetraining`, or there is no such example.
        ConvergenceError: a minimum isn't reached.
    """
    if not isinstance(retraining, ConvexRetraining):
        raise InputError(
            f"leave_one_out takes a ConvexRetraining and got a {type(retraining).__name__}: in "
            f"a network the change by one example drowns in that by the seed. Use block_removal"
        )
    places = range(retraining.count) if examples is None else examples
    return block_removal(retraining, queries, [[place] for place in places], seeds=[0])


def block_removal(
    retraining: Retraining,
    queries: Any,
    blocks: Sequence[Sequence[int] | Int[Tensor, " b"]],
    *,
    seeds: Sequence[int] = (0, 1, 2),
) -> Removals:
    """The rise of each query's loss in runs that differ in nothing but a block's absence.

    Per seed, a run on all training examples is compared with a run that has the same initial
    weights and the same batches, in which the block's losses don't count.

    Args:
        retraining: how a model is trained.
        queries: a Dataset, or a batch.
        blocks: places of the training examples that are removed together.
        seeds: of the runs.

    Raises:
        InputError: there are no blocks or seeds, or a block is empty or names no example.
    """
    if not blocks or not seeds:
        raise InputError("there are no blocks, or no seeds; expected at least one of each")
    removed = [torch.as_tensor(block, dtype=torch.int64).reshape(-1) for block in blocks]
    if any(not len(block) for block in removed):
        raise InputError("a block has no training example")
    asked = InMemory(queries, retraining.collate_fn, name="queries")
    everything = torch.arange(retraining.count)
    losses, margins = [], []
    for seed in seeds:
        runs = [Run(everything, seed), *(Run(everything, seed, block) for block in removed)]
        for run in runs:
            run.present(retraining.count)
        measured = measured_after(retraining, runs, asked)
        losses.append((measured["loss"][1:] - measured["loss"][0]).mT)
        if "margin" in measured:
            margins.append((measured["margin"][0] - measured["margin"][1:]).mT)
    return Removals(
        removed,
        torch.stack(losses),
        torch.stack(margins) if margins else None,
        retraining.count,
    )


def measured_after(
    retraining: Retraining, runs: Sequence[Run], queries: InMemory
) -> dict[str, Float[Tensor, "M Q"]]:
    """What is measured after each run, with no more models in memory than are trained at once."""
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(runs), retraining.at_once):
        states = retraining.states(runs[start : start + retraining.at_once])
        for name, values in retraining.measured(states, queries).items():
            parts.setdefault(name, []).append(values)
    return {name: torch.cat(some) for name, some in parts.items()}
