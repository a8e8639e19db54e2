"""Retraining by the user's own function."""

from __future__ import annotations

import hashlib
import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import Subset

from headwater.errors import InputError
from headwater.evaluation.retraining import Retraining, States, stacked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headwater.evaluation.run import Run
    from headwater.tasks import Task


class FunctionRetraining(Retraining):
    """Training by `train(dataset, seed)`, which returns the trained model.

    Removed examples aren't in the dataset that it is given. Whether runs with the same seed then
    have the same batches otherwise is up to the function.

    Args:
        train: `train(dataset, seed) -> model`: trains a new model on a Dataset, a subset of
            `dataset`, with everything that is random drawn from the seed.
        model, dataset, loss_fn, task, collate_fn: see `Retraining`; the model's weights don't
            matter, and the loss is that which queries are measured by.
    """

    def __init__(
        self,
        model: Callable[[], nn.Module] | nn.Module,
        dataset: Any,
        train: Callable[[Any, int], nn.Module],
        *,
        loss_fn: Callable[..., Any] | None = None,
        task: Task | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        super().__init__(model, dataset, loss_fn=loss_fn, task=task, collate_fn=collate_fn)
        if not callable(train):
            raise InputError(f"train is a {type(train).__name__}; expected a function")
        self._train = train

    def states(self, runs: Sequence[Run]) -> States:
        expected = {name: tensor.shape for name, tensor in self.template.state_dict().items()}
        found = []
        for run in runs:
            places = run.present(self.count).nonzero()[:, 0].tolist()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(run.seed)
                model = self._train(Subset(self.dataset, places), run.seed)
            if not isinstance(model, nn.Module):
                raise InputError(
                    f"train(dataset, seed) returned a {type(model).__name__}; expected the trained "
                    f"torch.nn.Module"
                )
            state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            if {name: tensor.shape for name, tensor in state.items()} != expected:
                raise InputError(
                    "train(dataset, seed) returned a model with other weights than model() has; "
                    "expected the same names and shapes"
                )
            found.append(state)
        return stacked(found)

    def facts(self) -> dict[str, Any]:
        return {**self.common_facts(), "training": f"train(dataset, seed) {_digest(self._train)}"}


def _digest(function: Any) -> str:
    """Of the function's own text, as far as it can be had; not of what it calls."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = getattr(function, "__qualname__", type(function).__qualname__)
    return hashlib.sha256(text.encode()).hexdigest()
