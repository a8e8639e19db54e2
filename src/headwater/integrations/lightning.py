"""Recording checkpoints of a Lightning Trainer."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from headwater.checkpoints import CheckpointRecorder
from headwater.errors import InputError, MissingDependencyError


def _callback_class() -> Any:
    """Lightning's `Callback`, of the one of its two packages that is in use."""
    names = ("lightning.pytorch", "pytorch_lightning")
    one, other = sorted(names, key=lambda name: name not in sys.modules)
    try:
        return importlib.import_module(one).Callback
    except ImportError:
        pass
    try:
        return importlib.import_module(other).Callback
    except ImportError as error:
        raise MissingDependencyError(
            "headwater.integrations.lightning needs Lightning, which can't be imported: "
            "pip install 'headwater[lightning]'"
        ) from error


class RecordCheckpoints(_callback_class()):  # type: ignore[misc]
    """A `CheckpointRecorder` as a callback of a Trainer.

        Trainer(..., callbacks=[RecordCheckpoints("run", every=50, keep=20)])

    The model that is recorded, and that estimators take, is the LightningModule. Steps are the
    Trainer's `global_step`: updates, however many batches are accumulated for one. A training that
    is resumed from Lightning's own checkpoint goes on with the recording. The loss is what
    `training_step` returns.

    In distributed training the process of rank 0 records; models that FSDP or DeepSpeed shard can't
    be recorded.

    Args:
        folder, every, keep, moments, overwrite: see `CheckpointRecorder`, whose errors come when
            training begins.

    Raises:
        MissingDependencyError: on importing the module, where Lightning isn't installed.
        InputError: when training begins, if the module has several optimizers.
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
        super().__init__()
        self._folder = folder
        self._options: dict[str, Any] = {
            "every": every,
            "keep": keep,
            "moments": moments,
            "overwrite": overwrite,
        }
        self._recorder: CheckpointRecorder | None = None

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Begin to record."""
        self._close()
        optimizers = trainer.optimizers
        if len(optimizers) != 1:
            raise InputError(
                f"the module has {len(optimizers)} optimizers, and a recording follows one; make a "
                f"CheckpointRecorder for each in on_train_start, in a folder of its own"
            )
        if trainer.is_global_zero:
            self._recorder = CheckpointRecorder(
                self._folder, pl_module, optimizers[0], start=trainer.global_step, **self._options
            )

    def on_train_batch_end(
        self, trainer: Any, pl_module: nn.Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if self._recorder is not None and isinstance(loss, Tensor):
            # Lightning has divided it, so that accumulated gradients are those of a mean.
            self._recorder.note_loss(loss * trainer.accumulate_grad_batches)

    def on_train_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """Stop recording."""
        self._close()

    def on_exception(self, trainer: Any, pl_module: nn.Module, exception: BaseException) -> None:
        """Stop recording."""
        self._close()

    def _close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        self._recorder = None
