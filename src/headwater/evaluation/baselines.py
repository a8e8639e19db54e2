"""What every method has to beat: chance, and the training loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from headwater.capture.borrowed import borrowed, evaluate
from headwater.checkpoints import BoundSeries
from headwater.estimators import DataInfluence
from headwater.evaluation.in_memory import InMemory
from headwater.evaluation.objective import Objective
from headwater.tasks.batch import leading_size

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.evaluation.trained_run import TrainedRun

_AT_ONCE = 256


class RandomScores(DataInfluence):
    """Scores of a standard normal distribution, drawn from the run's seed."""

    def __init__(self, run: TrainedRun) -> None:
        self._run = run

    def influence(self, inputs: Any = None, *rest: Any, **kwargs: Any) -> Tensor:
        """Self-influence (N,) or scores (Q, N), which know nothing of either."""
        generator = torch.Generator().manual_seed(self._run.seed)
        count = _data(self._run).count
        if inputs is None:
            return torch.randn(count, generator=generator)
        rows = leading_size(inputs) or 1
        return torch.randn(rows, count, generator=generator)


class TrainingLoss(DataInfluence):
    """The losses of the training examples, as their suspicion and as every query's scores.

        score(q, n) = mean over checkpoints c of L(w_c, n)

    Args:
        run: the training run.
        averaged: whether it is the mean over the checkpoints; or the trained model's loss alone.
    """

    def __init__(self, run: TrainedRun, *, averaged: bool) -> None:
        self._run = run
        self._averaged = averaged

    def influence(self, inputs: Any = None, *rest: Any, **kwargs: Any) -> Tensor:
        """Losses (N,), or the same for every query (Q, N)."""
        losses = self._losses()
        if inputs is None:
            return losses
        return losses.repeat(leading_size(inputs) or 1, 1)

    def _losses(self) -> Float[Tensor, " N"]:
        run, data = self._run, _data(self._run)
        objective = Objective(run.loss_fn, run.task)
        arguments = run.arguments(checkpoints=None if self._averaged else run.last)
        series = BoundSeries(
            run.model,
            arguments["checkpoints"],
            arguments["checkpoints_load_func"],
            arguments.get("learning_rates"),
        ).selecting([name for name, _ in run.model.named_parameters()])
        means: list[Tensor] = []
        with borrowed(run.model), torch.no_grad():
            for _ in series.visit():
                evaluate(run.model)
                parts = [
                    objective.checked(run.model, data.batch(places), len(places)).double()
                    for places in torch.arange(data.count).split(_AT_ONCE)
                ]
                means.append(torch.cat(parts))
        return torch.stack(means).mean(dim=0)


def _data(run: TrainedRun) -> InMemory:
    source = run.train_dataset
    if isinstance(source, DataLoader):
        return InMemory(source.dataset, source.collate_fn)
    return InMemory(source, run.options.get("collate_fn"))
