"""How a model was trained, said so that it can be trained again."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jaxtyping import Int
    from torch import Tensor

# All of them treat every number alone, so that weights of many models in one tensor are updated as
# if each model had an optimizer of its own.
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}
Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class Recipe:
    """A training run: epochs over the data in random order, in batches, with one optimizer.

    Every epoch goes through the examples in a new order, drawn from the run's seed; the last batch
    may be short. A batch's loss is the mean of its examples' losses.

    Attributes:
        epochs: how many times the data is gone through.
        batch_size: examples per update.
        learning_rate: of the optimizer, before the schedule.
        optimizer: "sgd", "adam", "adamw", "rmsprop" or "adagrad".
        settings: of the optimizer's class in `torch.optim`, beside the rate: `{"momentum": 0.9}`.
        schedule: "constant"; "linear" or "cosine" fall to 0, reached after the last update.
        warmup: updates over which the rate rises from near 0 first.
        clip_norm: the largest norm of a batch's gradient, over all parameters; None for any.

    Raises:
        InputError: a value is out of its range, or the optimizer doesn't know a setting.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str = "sgd"
    settings: Mapping[str, Any] = field(default_factory=dict)
    schedule: Schedule = "constant"
    warmup: int = 0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise InputError(
                f"epochs is {self.epochs} and batch_size {self.batch_size}; expected at least 1"
            )
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate}; expected more than 0")
        if self.optimizer not in OPTIMIZERS:
            raise InputError(
                f"optimizer is {self.optimizer!r}; expected one of {', '.join(OPTIMIZERS)}. For "
                f"another one write a function train(dataset, seed) that returns the trained model"
            )
        if self.schedule not in ("constant", "linear", "cosine"):
            raise InputError(
                f"schedule is {self.schedule!r}; expected 'constant', 'linear' or 'cosine'"
            )
        if self.warmup < 0 or (self.clip_norm is not None and not self.clip_norm > 0):
            raise InputError(
                f"warmup is {self.warmup} and clip_norm {self.clip_norm}; expected at least 0, and "
                f"more than 0"
            )
        # By the names alone: making an optimizer imports PyTorch's compiler, which takes seconds,
        # and most commands that read a recipe don't train.
        make = OPTIMIZERS[self.optimizer]
        try:
            inspect.signature(make).bind([], lr=self.learning_rate, **self.settings)
        except TypeError as error:
            raise self._refused(error) from error

    def optimizer_of(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """A new optimizer of these tensors.

        Raises:
            InputError: the optimizer refuses its settings.
        """
        make: Any = OPTIMIZERS[self.optimizer]
        try:
            optimizer: torch.optim.Optimizer = make(
                list(parameters), lr=self.learning_rate, **self.settings
            )
        except ValueError as error:
            raise self._refused(error) from error
        return optimizer

    def _refused(self, error: Exception) -> InputError:
        return InputError(
            f"torch.optim.{OPTIMIZERS[self.optimizer].__name__} doesn't take the settings "
            f"{dict(self.settings)}: {error}"
        )

    def steps(self, examples: int) -> int:
        """How many updates a run on so many examples takes."""
        return self.epochs * math.ceil(examples / self.batch_size)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of an update, the first of which is number 0, out of `steps`."""
        share = 1.0
        if self.schedule == "linear":
            share = 1 - step / steps
        elif self.schedule == "cosine":
            share = (1 + math.cos(math.pi * step / steps)) / 2
        return self.learning_rate * share * min(1.0, (step + 1) / (self.warmup + 1))

    def batches(self, examples: int, seed: int) -> Iterator[Int[Tensor, " B"]]:
        """The places of each batch's examples among so many, update by update."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(self.epochs):
            yield from torch.randperm(examples, generator=generator).split(self.batch_size)

    def facts(self) -> dict[str, Any]:
        """What a bank says of it."""
        return {**vars(self), "settings": dict(self.settings)}
