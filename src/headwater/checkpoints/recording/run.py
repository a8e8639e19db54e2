"""A recording whose updates can all be taken again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headwater.checkpoints.recording.checkpoint import RecordedCheckpoint
from headwater.checkpoints.recording.folder import committed, read_manifest
from headwater.checkpoints.recording.series import recorded_checkpoints
from headwater.checkpoints.recording.step import RecordedStep
from headwater.checkpoints.recording.step_log import read_log
from headwater.errors import NotReplayableError


@dataclass(frozen=True)
class RecordedRun:
    """The updates of a run from one checkpoint on, and what its weights were on the way.

    Attributes:
        start: the checkpoint before the first update.
        steps: the updates, one after the other.
        weights: by number of updates taken before, the file of the weights then; `start` and the
            end of a recording that was closed are among them.
        versions: of the libraries that recorded it.
    """

    start: RecordedCheckpoint
    steps: tuple[RecordedStep, ...]
    weights: Mapping[int, Path]
    versions: Mapping[str, str]


def read_run(folder: Path) -> RecordedRun:
    """The updates that a recording lists.

    Raises:
        RecordingError: there is no recording, or it is damaged.
        NotReplayableError: it lists no updates, or none from a checkpoint on at which all is known.
    """
    manifest = read_manifest(folder)
    entry = manifest.steps
    if entry is None:
        raise NotReplayableError(
            f"the recording in {folder} doesn't say which examples were in which update; call "
            f"recorder.batch(indices) before the forward pass of every update of the training"
        )
    steps = read_log(folder, entry)
    checkpoints = recorded_checkpoints(folder, manifest, "recorded")
    known = [c for c in checkpoints if entry.first <= c.step < entry.stop]
    # Only before update 0 is it sure that the optimizer had no numbers of its own.
    start = next((c for c in known if c.step == 0 or c.moments_path is not None), None)
    if start is None:
        raise NotReplayableError(
            f"the recording in {folder} lists updates from {entry.first} on, and has no checkpoint "
            f"among them with the optimizer's moments; record from the first update of the "
            f"training on, or with moments=True"
        )
    weights = {c.step: c.path for c in known}
    if entry.end is not None:
        weights[entry.stop] = committed(folder, entry.end)
    return RecordedRun(
        start=start,
        steps=tuple(step for step in steps if step.step >= start.step),
        weights={step: path for step, path in weights.items() if step >= start.step},
        versions=manifest.versions,
    )
