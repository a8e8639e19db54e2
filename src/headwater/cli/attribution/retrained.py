"""How an attribution file says that its model is trained again."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.data import DataLoader, default_collate

from headwater.checkpoints import count_of, is_recording
from headwater.cli.attribution.location import shown_path
from headwater.errors import AttributionFileError, NoCheckpointsError
from headwater.evaluation import FunctionRetraining, Recipe, RecipeRetraining, TrainedRun
from headwater.evaluation.objective import Objective
from headwater.replay import TrainingRun

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headwater.cli.attribution.attribution_file import AttributionFile
    from headwater.evaluation import Method, Retraining


def retraining_of(given: AttributionFile) -> Retraining:
    """By the file's recipe `training`, or else by its function `train(dataset, seed)`.

    Raises:
        AttributionFileError: it has neither, or one of the wrong kind.
    """
    recipe = given.setting("training")
    if recipe is not None:
        return recipe_retraining_of(given)
    train = given.setting("train")
    if train is None or not _takes_dataset_and_seed(train):
        raise AttributionFileError(
            f"{given.path} doesn't say how to train the model again; expected a recipe, "
            f"`training = headwater.evaluation.Recipe(epochs=..., batch_size=..., "
            f"learning_rate=...)`, or a function `train(dataset, seed)` that returns a trained "
            f"model"
        )
    return FunctionRetraining(train=train, **_arguments(given))


def recipe_retraining_of(given: AttributionFile) -> RecipeRetraining:
    """By the file's recipe.

    Raises:
        AttributionFileError: it has none.
    """
    recipe = given.setting("training")
    if not isinstance(recipe, Recipe):
        came = "doesn't define it" if recipe is None else f"has a {type(recipe).__name__} there"
        raise AttributionFileError(
            f"this needs `training = headwater.evaluation.Recipe(...)`, and {given.path} {came}"
        )
    return RecipeRetraining(recipe=recipe, **_arguments(given))


def trained_run_of(given: AttributionFile, *, seed: int) -> TrainedRun:
    """The run that the file's checkpoints are of."""
    options = {
        name: given.setting(name)
        for name in ("checkpoints_load_func", "batch_size", "memory_budget")
        if given.setting(name) is not None
    }
    rates = given.value("learning_rates", None)
    if rates is not None:
        options["learning_rates"] = rates
    return TrainedRun(
        model=given.model,
        train_dataset=given.train_dataset,
        checkpoints=given.checkpoints,
        loss_fn=Objective(given.loss_fn, given.task).loss_fn,
        task=given.task,
        layers=given.setting("layers"),
        final_layer=given.setting("final_layer"),
        replay=_replay_of(given),
        options=options,
        seed=seed,
    )


def refuse_missing_checkpoints(given: AttributionFile, methods: Mapping[str, Method]) -> None:
    """Raises an error where methods need checkpoints and there are none, before hours of training.

    Raises:
        NoCheckpointsError: the folder is missing or empty, or a file isn't there.
    """
    if not any(method.has_checkpoints for method in methods.values()):
        return
    any_format = given.setting("checkpoints_load_func") is not None
    try:
        count_of(given.checkpoints, any_format=any_format)
        for path in [] if any_format else _paths(given.checkpoints):
            if not path.exists():
                raise NoCheckpointsError(f"there is no checkpoint {path}")
    except NoCheckpointsError as error:
        raise NoCheckpointsError(
            f"{error}. Methods explain a trained model: train it first, by python "
            f"{shown_path(given.path)} if that is what this file does"
        ) from error


def _paths(checkpoints: Any) -> list[Path]:
    """The paths in a list of checkpoints, with or without rates."""
    if not isinstance(checkpoints, (list, tuple)):
        return []
    first = [one[0] if isinstance(one, tuple) and one else one for one in checkpoints]
    return [Path(one) for one in first if isinstance(one, (str, Path))]


def _replay_of(given: AttributionFile) -> Callable[[], TrainingRun] | None:
    """Opens the recording that the file's checkpoints are, where they are one."""
    folder, recipe = given.checkpoints, given.setting("training")
    if not isinstance(folder, Path) or not is_recording(folder):
        return None
    arguments = _arguments(given)
    return lambda: TrainingRun.open(
        folder,
        given.model,
        arguments["dataset"],
        given.loss_fn,
        task=given.task,
        collate_fn=arguments["collate_fn"],
        max_grad_norm=recipe.clip_norm if isinstance(recipe, Recipe) else None,
    )


def _arguments(given: AttributionFile) -> dict[str, Any]:
    made = given.setting("model")
    given.value("model")  # Says what is wrong with it, where something is.
    dataset, collate_fn = given.train_dataset, None
    if isinstance(dataset, DataLoader):
        collate_fn = None if dataset.collate_fn is default_collate else dataset.collate_fn
        dataset = dataset.dataset
    return {
        "model": made if isinstance(made, nn.Module) or callable(made) else given.model,
        "dataset": dataset,
        "loss_fn": given.loss_fn,
        "task": given.task,
        "collate_fn": collate_fn,
    }


def _takes_dataset_and_seed(function: Any) -> bool:
    try:
        inspect.signature(function).bind(None, 0)
    except (TypeError, ValueError):
        return False
    return True
