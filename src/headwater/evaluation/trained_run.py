"""The training run that methods explain, as they need to know it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from headwater.checkpoints import default_checkpoints_load_func
from headwater.checkpoints.source import open_source
from headwater.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headwater.curvature.find_likelihood import LikelihoodName
    from headwater.replay import TrainingRun
    from headwater.tasks import Task


@dataclass(frozen=True)
class TrainedRun:
    """A model, its training data, and what its training left behind.

    Attributes:
        model: the model; checkpoints bring its weights.
        train_dataset: the training examples.
        checkpoints: what estimators take as `checkpoints`, in the order of training.
        loss_fn: the loss; None beside a task.
        task: in place of `loss_fn`.
        final: what estimators take as `checkpoints` for the trained model alone: one checkpoint
            with the rate 1. None takes the last of `checkpoints`.
        others: the same as `final` for runs that differ in their seed alone, for methods that
            average over several.
        layers: the parameters that count; None for all.
        final_layer: the name of the last linear layer; None finds it.
        likelihood: the distribution whose negative logarithm the loss is, where the loss is not one
            that says it by itself; see `headwater.EKFAC`.
        replay: opens the run to be taken again, update by update; None where it wasn't recorded so.
        options: further arguments of the estimators: `learning_rates`, `batch_size`, ...
        seed: of whatever a method draws.
    """

    model: nn.Module
    train_dataset: Any
    checkpoints: Any
    loss_fn: Callable[..., Any] | None = None
    task: Task | None = None
    final: list[Any] | None = None
    others: Sequence[list[Any]] = ()
    layers: Sequence[str] | None = None
    final_layer: str | None = None
    likelihood: LikelihoodName | None = None
    replay: Callable[[], TrainingRun] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def arguments(self, *, checkpoints: Sequence[Any] | None = None) -> dict[str, Any]:
        """What the constructors of TracIn and its kin take by name.

        Args:
            checkpoints: others than the run's, with their rates.
        """
        given = {"checkpoints_load_func": default_checkpoints_load_func, **self.options}
        if checkpoints is not None:
            # The learning rates of the run aren't theirs.
            given.pop("learning_rates", None)
        return {
            **self._common,
            "checkpoints": self.checkpoints if checkpoints is None else checkpoints,
            **given,
        }

    def of_all_layers(self, *, checkpoints: Sequence[Any] | None = None) -> dict[str, Any]:
        """The same, of estimators that take `layers`."""
        return {**self.arguments(checkpoints=checkpoints), "layers": self.layers}

    def of_the_trained_model(self) -> dict[str, Any]:
        """The same, with the trained model as the only checkpoint."""
        return self.of_all_layers(checkpoints=self.last)

    def of_several_models(self) -> dict[str, Any]:
        """The same, with the trained models of all runs as the checkpoints."""
        every = [*self.last, *(one for other in self.others for one in other)]
        return self.of_all_layers(checkpoints=every)

    def without_series(self) -> dict[str, Any]:
        """What estimators take that know of one `checkpoint` only, such as influence functions."""
        (last,) = self.last
        options = {key: one for key, one in self.options.items() if key != "learning_rates"}
        checkpoint = last[0] if isinstance(last, tuple) else last
        return {**self._common, "layers": self.layers, "checkpoint": checkpoint, **options}

    def replayed(self) -> TrainingRun:
        """The run, to be taken again, for estimators that follow it update by update.

        Raises:
            InputError: it wasn't recorded so.
        """
        if self.replay is None:
            raise InputError(
                "the run can't be taken again: it needs a CheckpointRecorder's folder with every "
                "update's examples, by recorder.batch(places) before each update"
            )
        return self.replay()

    def of_forward_passes(self, *, checkpoints: Sequence[Any] | None = None) -> dict[str, Any]:
        """What estimators take that take no gradient: no rates, and no layers."""
        arguments = self.arguments(checkpoints=checkpoints)
        arguments.pop("learning_rates", None)
        return arguments

    @property
    def _common(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "influence_src_dataset": self.train_dataset,
            "loss_fn": self.loss_fn,
            "task": self.task,
        }

    @property
    def last(self) -> list[Any]:
        """What stands for the trained model as `checkpoints`: one, with the rate 1."""
        if self.final is not None:
            return self.final
        own = self.options.get("checkpoints_load_func", default_checkpoints_load_func)
        any_format = own is not default_checkpoints_load_func
        source = open_source(self.checkpoints, any_format=any_format, rates_given=True)
        *_, item = source.items
        if any_format:
            return [item]
        return [(item[0] if isinstance(item, tuple) else item, 1.0)]

    @property
    def last_linear(self) -> str:
        """The name of the last linear layer.

        Raises:
            InputError: there is none.
        """
        if self.final_layer is not None:
            return self.final_layer
        names: list[str] = [
            n for n, module in self.model.named_modules() if isinstance(module, nn.Linear)
        ]
        if not names:
            raise InputError("the model has no nn.Linear layer; name one in `final_layer`")
        return names[-1]
