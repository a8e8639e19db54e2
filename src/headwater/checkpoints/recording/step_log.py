"""The file that lists the updates of a run: reading it, and adding to it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.checkpoints.recording.entry import FileEntry
from headwater.checkpoints.recording.step import RecordedStep, StepLines, read_steps
from headwater.checkpoints.recording.steps_entry import LOG, StepsEntry
from headwater.errors import RecordingCorruptError

if TYPE_CHECKING:
    from io import FileIO


def read_log(folder: Path, entry: StepsEntry) -> list[RecordedStep]:
    """The committed updates.

    Raises:
        RecordingCorruptError: the file is missing, cut off or changed.
    """
    path = folder / entry.log.file
    if not path.is_file():
        raise RecordingCorruptError(
            f"{path} is missing, although the recording names it; restore it"
        )
    with path.open("rb") as file:
        data = file.read(entry.log.nbytes)
    if len(data) != entry.log.nbytes:
        raise RecordingCorruptError(
            f"{path} has {len(data)} bytes and not the {entry.log.nbytes} that were written; "
            f"restore it"
        )
    steps = [step for step, _ in read_steps(data, str(path))]
    if (len(steps), steps[0].step if steps else entry.first) != (entry.count, entry.first):
        raise RecordingCorruptError(
            f"{path} lists {len(steps)} updates and not the {entry.count} from {entry.first} on "
            f"that were written; restore it"
        )
    return steps


def log_before(folder: Path, start: int) -> StepsEntry | None:
    """The listed updates before `start`, if they go up to it; those from there on are taken anew.

    Lines that a killed process wrote and never committed are among them: they are what it did.
    """
    path = folder / LOG
    if not path.is_file():
        return None
    first = end = count = 0
    # Of a line that was cut off by the kill nothing is known, and it is the last.
    with suppress(RecordingCorruptError):
        for step, place in read_steps(path.read_bytes(), str(path)):
            if step.step < start:
                first = first if count else step.step
                end, count = place, count + 1
    return StepsEntry(FileEntry(LOG, end), first, count) if first + count == start else None


class StepLog:
    """Adds to the list of a recording's updates.

    Args:
        folder: the recording's, which this process alone writes to.
        committed: what the manifest says; None where no update was listed yet.
    """

    def __init__(self, folder: Path, committed: StepsEntry | None) -> None:
        self._path = folder / LOG
        self._entry = committed
        # Its first line says everything anew.
        self._lines = StepLines()
        self._file: FileIO | None = None

    @property
    def begun(self) -> bool:
        """Whether any update is listed."""
        return self._entry is not None

    def add(self, step: RecordedStep) -> None:
        """One more update. It counts once `flush` was called and a manifest was committed."""
        entry = self._entry or StepsEntry(FileEntry(LOG, 0), step.step, 0)
        if self._file is None:
            self._path.parent.mkdir(exist_ok=True)
            self._path.touch()
            self._file = self._path.open("rb+", buffering=0)
            # What a killed process wrote beyond belongs to no state.
            self._file.truncate(entry.log.nbytes)
            self._file.seek(entry.log.nbytes)
        line = self._lines.line(step)
        self._file.write(line)
        log = FileEntry(LOG, entry.log.nbytes + len(line))
        self._entry = StepsEntry(log, entry.first, entry.count + 1)

    def flush(self) -> StepsEntry | None:
        """Sees to it that what was added is on the disk, and returns what a manifest says of it."""
        if self._file is not None:
            os.fsync(self._file.fileno())
        return self._entry

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
