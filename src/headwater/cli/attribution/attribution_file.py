"""What an attribution file defines, looked up when it is needed, and the estimator of it."""

from __future__ import annotations

import inspect
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from headwater.checkpoints import default_checkpoints_load_func
from headwater.cli.attribution.location import in_users_words, shown_path
from headwater.cli.attribution.module import run_module
from headwater.cli.attribution.query_set import QuerySet
from headwater.cli.attribution.settings import (
    FOR_RETRAINING,
    REQUIRED,
    defined_lines,
    misspelt,
    similar,
)
from headwater.cli.launched import launched
from headwater.cli.notices import say
from headwater.errors import AttributionFileError
from headwater.estimators import TracInCP, TracInCPFast
from headwater.results.names import ID, Names
from headwater.tasks import LossTask, ModelOutput
from headwater.tasks.loss import declared_reduction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headwater.cli.attribution.query_set import Queries
    from headwater.estimators import TracInCPBase
    from headwater.tasks import Task

_ABSENT: Any = object()


class AttributionFile:
    """A Python file that says what model, data, loss and checkpoints there are.

    Of its names `model`, `train_dataset`, `query_dataset`, `train_columns`, `query_columns`,
    `checkpoints` and `learning_rates` are values, or functions without arguments that return them.

    Args:
        path: the file's.

    Raises:
        AttributionFileError: there is no such file, or it can't be run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._module = run_module(path)
        self._lines = defined_lines(path)
        for name, meant in misspelt(self._lines).items():
            say(
                f"Note: {shown_path(path)}, line {self._lines[name]}: `{name}` is no setting; "
                f"`{meant}` is"
            )

    @cached_property
    def model(self) -> nn.Module:
        """The model.

        Raises:
            AttributionFileError: there is none.
        """
        model = self.value("model")
        if not isinstance(model, nn.Module):
            raise AttributionFileError(
                f"{self._place('model')}: model() returned a {type(model).__name__}; expected a "
                f"torch.nn.Module"
            )
        return model

    @cached_property
    def train_dataset(self) -> Any:
        """The training examples."""
        return self.value("train_dataset")

    @cached_property
    def train_columns(self) -> dict[str, Any]:
        """What is known of the training examples, by column; "id" holds their names."""
        return self.columns("train_columns")

    @cached_property
    def queries(self) -> QuerySet:
        """The examples to ask about."""
        return QuerySet(
            self.value("query_dataset"), self.columns("query_columns"), self._place("query_dataset")
        )

    @cached_property
    def checkpoints(self) -> Any:
        """The checkpoints; a path is one from the file's own folder."""
        checkpoints = self.value("checkpoints")
        if isinstance(checkpoints, (str, Path)):
            # A file that says "run" means the folder beside it, from wherever it is used.
            return self.path.resolve().parent / checkpoints
        return checkpoints

    @cached_property
    def held_out_dataset(self) -> Any:
        """Examples that training doesn't see, with labels that can be trusted.

        Raises:
            AttributionFileError: there are none.
        """
        return self.value("held_out_dataset")

    @cached_property
    def train(self) -> Callable[[Any, int], Any]:
        """The function `train(dataset, seed)`, which returns a trained model.

        Raises:
            AttributionFileError: there is none, or it takes something else.
        """
        function = self._defined("train")
        if not callable(function):
            raise AttributionFileError(
                f"{self._place('train')}: train is a {type(function).__name__}; expected a "
                f"function train(dataset, seed) that returns a trained model"
            )
        try:
            inspect.signature(function).bind(None, 0)
        except TypeError as error:
            raise AttributionFileError(
                f"{self._place('train')}: train{inspect.signature(function)} is called as "
                f"train(dataset, seed): {error}. It gets a training set and an int, and returns "
                f"the trained model"
            ) from error
        except ValueError:
            # Written in C: what it takes will show.
            pass

        def trained(dataset: Any, seed: int) -> Any:
            try:
                return function(dataset, seed)
            except Exception as error:
                raise AttributionFileError(
                    f"train(dataset, {seed}) of {shown_path(self.path)} raised an exception.\n"
                    f"{in_users_words(error)}"
                ) from error

        return trained

    def reading_task(self) -> Task:
        """How a batch is read, without a look at checkpoints."""
        if self.task is not None:
            return self.task
        if self.loss_fn is None:
            return ModelOutput()
        return LossTask(self.loss_fn, reduction=declared_reduction(self.loss_fn, batched=None))

    @cached_property
    def loss_fn(self) -> Any:
        """The loss; None where a task is given, or None is."""
        if self.task is not None:
            return None
        return self._defined("loss_fn")

    @cached_property
    def task(self) -> Task | None:
        """The task, where one is given in place of a loss."""
        task: Task | None = getattr(self._module, "task", None)
        return task

    def estimator(self, *, train_dataset: Any = None, projection: Any = _ABSENT) -> TracInCPBase:
        """The estimator that the file asks for.

        Args:
            train_dataset: other training examples; None takes the file's.
            projection: another one than the file's; None for exact scores.
        """
        data = self.train_dataset if train_dataset is None else train_dataset
        arguments: dict[str, Any] = {
            "model": self.model,
            "influence_src_dataset": data,
            "checkpoints": self.checkpoints,
            "checkpoints_load_func": self.setting(
                "checkpoints_load_func", default_checkpoints_load_func
            ),
            "loss_fn": self.loss_fn,
            "task": self.task,
            "batch_size": self.setting("batch_size", "auto"),
            "memory_budget": self.setting("memory_budget", "auto"),
            "learning_rates": self.value("learning_rates", None),
            "form": self.setting("projection", None) if projection is _ABSENT else projection,
        }
        processes = launched()
        if processes is not None:
            # Not before the user's own code had its chance to.
            parameter = next(self.model.parameters(), None)
            processes.join(torch.device("cpu") if parameter is None else parameter.device)
        final_layer = self.setting("final_layer", None)
        layers = self.setting("layers", None)
        if final_layer is not None and layers is not None:
            raise AttributionFileError(
                f"{shown_path(self.path)} has both `layers` and `final_layer`; give one of them"
            )
        if final_layer is not None:
            return TracInCPFast(final_fc_layer=final_layer, **arguments)
        # A loss that reduces is taken as it is: the flag says no more than its own attribute.
        reduces = getattr(self.loss_fn, "reduction", None) in ("sum", "mean")
        return TracInCP(layers=layers, sample_wise_grads_per_batch=reduces, **arguments)

    def inputs(self, picked: Queries) -> dict[str, Any]:
        """The arguments `inputs` and `targets` of an estimator for some queries."""
        return picked.inputs(has_task=self.task is not None, has_loss=self.loss_fn is not None)

    def value(self, name: str, default: Any = _ABSENT) -> Any:
        """A value, or what a function without arguments returns.

        Raises:
            AttributionFileError: there is none, and no default; or the function raised.
        """
        found = self._defined(name, default)
        if isinstance(found, (nn.Module, Dataset, DataLoader)) or not callable(found):
            return found
        self._refuse_arguments(name, found)
        try:
            return found()
        except AttributionFileError:
            raise
        except Exception as error:
            raise AttributionFileError(
                f"{name}() of {shown_path(self.path)} raised an exception.\n{in_users_words(error)}"
            ) from error

    def known_of(self, ids: Sequence[int | str]) -> dict[str, Any]:
        """What is known of the training examples with these ids; None of others.

        A store may have examples that were appended to it, of which the file knows nothing.
        """
        names = Names("training example", self.train_columns)
        places = {names.id(place): place for place in range(names.count or 0)}
        known = [places.get(one) for one in ids]
        others = {
            name: [None if place is None else names.columns[name][place] for place in known]
            for name in names.others
        }
        return {ID: ids, **others}

    def setting(self, name: str, default: Any = None) -> Any:
        """An optional value, as it is."""
        return getattr(self._module, name, default)

    def _defined(self, name: str, default: Any = _ABSENT) -> Any:
        found = getattr(self._module, name, default)
        if found is not _ABSENT:
            return found
        near = similar(name, self._lines)
        hint = f". `{near}` on line {self._lines[near]} looks like it: rename it" if near else ""
        other = {**REQUIRED, **FOR_RETRAINING}.get(name, "")
        raise AttributionFileError(
            f"{shown_path(self.path)} doesn't define `{name}`, which {_is(other)}{hint}. "
            f"`headwater init` writes a file in which all names are explained"
        )

    def columns(self, name: str) -> dict[str, Any]:
        """Columns that the file may define under a name; none if it doesn't.

        Raises:
            AttributionFileError: they aren't columns by name.
        """
        columns = self.value(name, None)
        if columns is None:
            return {}
        try:
            return {str(column): columns[column] for column in columns}
        except (TypeError, KeyError, IndexError) as error:
            raise AttributionFileError(
                f"{self._place(name)}: {name} is a {type(columns).__name__}; expected a dict with "
                f"a list per column, or a DataFrame"
            ) from error

    def _refuse_arguments(self, name: str, function: Any) -> None:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return
        needed = [
            p.name
            for p in parameters
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if needed:
            raise AttributionFileError(
                f"{self._place(name)}: {name}() is called without arguments, and this one needs "
                f"{', '.join(needed)}; give them defaults"
            )

    def _place(self, name: str) -> str:
        path = shown_path(self.path)
        return f"{path}, line {self._lines[name]}" if name in self._lines else path


def ids_of(columns: dict[str, Any]) -> list[int | str] | None:
    """The ids among a file's columns, for a store; None numbers the examples."""
    return Names("training example", columns).columns.get(ID)


def _is(what: str) -> str:
    return what if what.startswith(("returns", "is ")) else f"is {what}"
