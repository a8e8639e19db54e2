"""Training a model anew, many times: what every way of doing it has in common."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater.engine.fingerprint import weights_digest
from headwater.errors import InputError
from headwater.estimators.loss_name import loss_name
from headwater.evaluation.in_memory import InMemory
from headwater.evaluation.objective import Objective
from headwater.evaluation.run import Run
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.tasks import Task

# Queries that go through a model at a time when they are measured.
_MEASURED_AT_ONCE = 256

States = dict[str, "Tensor"]


class Retraining(ABC):
    """A training procedure, and the data it is run on.

    Args:
        model: a function without arguments that returns a new model, whose initial weights it draws
            from torch's global generator; or a model, and then every run begins with its weights.
        dataset: all training examples: a Dataset, or one batch of all.
        loss_fn: `(predictions, targets) -> losses`, one per example.
        task: in place of `loss_fn`, for batches that are no tuples.
        collate_fn: makes a batch of a list of examples; None stacks tensors and numbers.

    Attributes:
        count: N, how many training examples there are.
        at_once: how many runs it trains at a time.
        deterministic: whether runs that differ in the seed alone end in the same model.
    """

    deterministic = False

    def __init__(
        self,
        model: Callable[[], nn.Module] | nn.Module,
        dataset: Any,
        *,
        loss_fn: Callable[..., Any] | None = None,
        task: Task | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        self._model = model
        columns = isinstance(dataset, (tuple, list)) and all(
            isinstance(part, torch.Tensor) for part in dataset
        )
        # Estimators take a Dataset.
        self.dataset = TensorDataset(*dataset) if columns and len(dataset) else dataset
        self.task = task
        self.collate_fn = collate_fn
        self.data = InMemory(dataset, collate_fn)
        self.objective = Objective(loss_fn, task)
        self.at_once = 1
        self.template = self.initial(0)
        self.device = next((p.device for p in self.template.parameters()), torch.device("cpu"))
        self.data.move_to(self.device)

    @property
    def count(self) -> int:
        return self.data.count

    @abstractmethod
    def states(self, runs: Sequence[Run]) -> States:
        """The trained weights and buffers of each run's model, stacked along a first axis."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the models depend on, in values of JSON; a bank is bound to it."""

    def initial(self, seed: int) -> nn.Module:
        """A new model with the initial weights of a seed, in train mode.

        Raises:
            InputError: what makes models doesn't return one.
        """
        # The memory of a model that is given is shared by nothing that is trained.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = _copied(self._model) if isinstance(self._model, nn.Module) else self._model()
        if not isinstance(made, nn.Module):
            raise InputError(f"model() returned a {type(made).__name__}; expected a Module")
        return made.train()

    def whole(self, seed: int) -> Run:
        """The run on all training examples."""
        return Run(torch.arange(self.count), seed)

    def trained(self, states: States) -> Iterator[nn.Module]:
        """Each model of some states, in eval mode; the same object with other weights."""
        template = self.template.eval()
        with torch.no_grad():
            for number in range(len(next(iter(states.values())))):
                template.load_state_dict({name: state[number] for name, state in states.items()})
                yield template

    def measured(self, states: States, queries: InMemory) -> dict[str, Float[Tensor, "M Q"]]:
        """The losses of queries under each model, and of classifiers the margins, in float64.

        Raises:
            LossError: the loss isn't one number per query.
        """
        rows: dict[str, list[Tensor]] = {}
        for model in self.trained(states):
            parts: dict[str, list[Tensor]] = {}
            with torch.no_grad():
                for places in torch.arange(queries.count).split(_MEASURED_AT_ONCE):
                    batch = borrow(queries.batch(places), self.device)
                    found = self.objective.measured(model, batch, len(places))
                    for name, values in found.items():
                        parts.setdefault(name, []).append(values.double().cpu())
            for name, pieces in parts.items():
                rows.setdefault(name, []).append(torch.cat(pieces))
        return {name: torch.stack(each) for name, each in rows.items()}

    def common_facts(self) -> dict[str, Any]:
        """The facts that every way of training has."""
        shapes = {name: list(tensor.shape) for name, tensor in self.template.state_dict().items()}
        return {
            "training examples": self.count,
            "data": self.data.fingerprint(),
            "loss": loss_name(self.objective.task),
            "model": hashlib.sha256(f"{self.template} {shapes}".encode()).hexdigest(),
            "initial weights": weights_digest(self.initial(0)),
        }


def states_of(models: Sequence[nn.Module]) -> States:
    """The weights and buffers of some models, stacked."""
    return stacked([model.state_dict() for model in models])


def stacked(states: Sequence[Mapping[str, Tensor]]) -> States:
    """State dicts of models of one architecture as one, with a first axis of models."""
    return {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}


def _copied(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)
