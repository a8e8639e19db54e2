"""What the `checkpoints` argument is: a folder, a file, or an iterable."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from headwater.checkpoints.folder import checkpoint_files
from headwater.checkpoints.recording.folder import is_recording
from headwater.checkpoints.recording.series import CheckpointSeries
from headwater.errors import CheckpointError, NoCheckpointsError


@dataclass(frozen=True)
class Source:
    """The checkpoints in order; how many, if known; whether they can be gone through again."""

    items: Iterable[object]
    count: int | None
    replayable: bool


def open_source(checkpoints: object, *, any_format: bool, rates_given: bool) -> Source:
    """The checkpoints that the argument stands for. Nothing is loaded, a generator not started.

    Args:
        checkpoints: the argument.
        any_format: whether a loader of the user's own reads them.
        rates_given: whether rates come from elsewhere, so that those of a recording don't matter.

    Raises:
        NoCheckpointsError: there is nothing at the path, or nothing in the folder or the list.
        CheckpointError: the argument is no path and no ordered iterable.
    """
    if isinstance(checkpoints, str | os.PathLike):
        return _at_path(checkpoints, any_format, rates_given)
    if isinstance(checkpoints, list | tuple):
        # Its own tuple: a list that is changed later would no longer fit the rates.
        return _counted(tuple(checkpoints), len(checkpoints), replayable=True)
    if isinstance(checkpoints, Mapping | nn.Module):
        raise CheckpointError(
            f"checkpoints is a single {type(checkpoints).__name__}; expected a folder, a file or "
            "an iterable of checkpoints: pass [copy.deepcopy(model.state_dict())]"
        )
    if isinstance(checkpoints, Set):
        raise CheckpointError(
            f"checkpoints is a {type(checkpoints).__name__}, which has no order; pass a list"
        )
    try:
        iterator = iter(checkpoints)  # type: ignore[call-overload]
    except TypeError as error:
        raise CheckpointError(
            f"checkpoints is of type {type(checkpoints).__name__}; expected a folder, a file or "
            "an iterable of checkpoints"
        ) from error
    items: Iterable[object] = checkpoints  # type: ignore[assignment]
    return _counted(items, _length(checkpoints), replayable=iterator is not checkpoints)


def count_of(checkpoints: object, *, any_format: bool) -> int | None:
    """How many checkpoints the argument stands for; None if only going through them will tell."""
    return open_source(checkpoints, any_format=any_format, rates_given=True).count


def runs_joined(checkpoints: object) -> object:
    """The argument as one list, if it is a list of several training runs' own lists or series."""
    if not isinstance(checkpoints, list | tuple):
        return checkpoints
    # A tuple within is a checkpoint with its rate.
    runs = [isinstance(item, list | CheckpointSeries) for item in checkpoints]
    if not any(runs):
        return checkpoints
    if not all(runs):
        raise CheckpointError(
            "checkpoints is a list of checkpoints and of lists of them; expected one list, or a "
            "list of lists, one for each training run"
        )
    return [item for run in checkpoints for item in run]


def _at_path(given: str | os.PathLike[str], any_format: bool, rates_given: bool) -> Source:
    path = Path(given)
    if is_recording(path):
        # Only with the default loader do the recorded rates count, and what is to be said of them.
        quiet = any_format or rates_given
        series = CheckpointSeries.open(path, rates="recorded" if quiet else None)
        if not any_format:
            return Source(series, len(series), replayable=True)
        files = [checkpoint.path for checkpoint in series]
        return _files(files, given)
    if path.is_dir():
        return _files(checkpoint_files(path, any_format), given)
    if path.is_file():
        return Source((given,), 1, replayable=True)
    raise NoCheckpointsError(
        f"there is nothing at the path {path}; expected a folder of checkpoints or a checkpoint "
        "file (names that only your own loader understands go in a list)"
    )


def _files(files: list[Path], given: str | os.PathLike[str]) -> Source:
    # A loader of the user's own gets paths of the kind that was given.
    items = [str(file) for file in files] if isinstance(given, str) else files
    return Source(tuple(items), len(items), replayable=True)


def _counted(items: Iterable[object], count: int | None, *, replayable: bool) -> Source:
    if count == 0:
        raise NoCheckpointsError(
            f"checkpoints is an empty {type(items).__name__}; expected at least one checkpoint"
        )
    return Source(items, count, replayable)


def _length(checkpoints: object) -> int | None:
    try:
        return len(checkpoints)  # type: ignore[arg-type]
    except TypeError:
        return None
