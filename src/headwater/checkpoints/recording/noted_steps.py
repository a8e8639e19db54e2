"""The updates of a run as its recorder notes them: one batch each, none left out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from headwater.checkpoints.recording.folder import RecordingFolder
from headwater.checkpoints.recording.step import PendingBatch
from headwater.checkpoints.recording.step_log import StepLog
from headwater.checkpoints.recording.steps_entry import LOG, StepsEntry
from headwater.errors import InputError


class NotedSteps:
    """Takes batches before the updates that they are for, and lists these.

    Args:
        folder: the recording's.
        committed: what its manifest says; None where no update was listed yet.
        first: the number of the update that the recorder comes to first.
    """

    def __init__(self, folder: RecordingFolder, committed: StepsEntry | None, first: int) -> None:
        self._folder = folder
        self._log = StepLog(folder.path, committed)
        self._first = first
        self._batch: PendingBatch | None = None

    def note(self, examples: Iterable[int] | Tensor, step: int) -> None:
        """The batch of update number `step`.

        Raises:
            InputError: see `CheckpointRecorder.batch`.
        """
        if self._batch is not None:
            raise InputError(
                f"a second batch was noted for update {step}; a run can be taken again where each "
                f"update is of one batch. Leave batch() out where gradients of several are added "
                f"up, or where updates may be skipped"
            )
        if not self._log.begun and step != self._first:
            raise InputError(
                f"update {step} is the first whose batch is noted, and those from {self._first} on "
                f"went by without, so that the run can't be taken again; call batch() before every "
                f"update, from the first on"
            )
        self._batch = PendingBatch(examples)

    def refuse_none(self, step: int) -> None:
        """Raises InputError if there is no batch of an update, and there were before."""
        if self._batch is None and self._log.begun:
            raise InputError(
                f"update {step} has no batch, and those before it have; call batch() before the "
                f"forward pass of every update, or of none"
            )

    def taken(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Lists the update that is about to be taken, if its batch was noted."""
        if self._batch is not None:
            with self._folder.writing(LOG):
                self._log.add(self._batch.step(step, model, optimizer))
            self._batch = None

    def listed(self) -> StepsEntry | None:
        """What a manifest has to say of them; they are on the disk by now."""
        with self._folder.writing(LOG):
            return self._log.flush()

    def close(self) -> None:
        """Lets go of the file."""
        self._log.close()
