"""Recording checkpoints of a Hugging Face Trainer."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

from headwater.checkpoints import CheckpointRecorder
from headwater.errors import MissingDependencyError

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise MissingDependencyError(
        "headwater.integrations.huggingface needs transformers, which can't be imported: "
        "pip install 'headwater[hf]'"
    ) from error


class RecordCheckpoints(TrainerCallback):  # type: ignore[misc]
    """A `CheckpointRecorder` as a callback of a Trainer.

        Trainer(..., callbacks=[RecordCheckpoints("run", every=50, keep=20)])

    Steps are the Trainer's `global_step`: updates, however many batches are accumulated for one. A
    training that is resumed from the Trainer's own checkpoint goes on with the recording. The loss
    is what the Trainer logs, so `logging_steps` says how closely it is known.

    In distributed training the process of rank 0 records; models that FSDP or DeepSpeed shard can't
    be recorded.

    Args:
        folder, every, keep, moments, overwrite: see `CheckpointRecorder`, whose errors come when
            training begins.

    Raises:
        MissingDependencyError: on importing the module, where transformers isn't installed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int,
        keep: int | None = None,
        moments: bool = False,
        overwrite: bool = False,
    ) -> None:
        self._folder = folder
        self._options: dict[str, Any] = {
            "every": every,
            "keep": keep,
            "moments": moments,
            "overwrite": overwrite,
        }
        self._recorder: CheckpointRecorder | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, *, model: nn.Module, optimizer: Any, **_: Any
    ) -> None:
        """Begin to record."""
        # A training that ended in an exception has closed nothing.
        self._close()
        if state.is_world_process_zero:
            self._recorder = CheckpointRecorder(
                self._folder, model, optimizer, start=state.global_step, **self._options
            )

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Note the loss."""
        if self._recorder is not None and logs is not None and "loss" in logs:
            self._recorder.note_loss(float(logs["loss"]))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop recording."""
        self._close()

    def _close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        self._recorder = None
