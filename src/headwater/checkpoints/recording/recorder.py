"""The recorder: checkpoints of a training loop, taken by themselves."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from headwater.checkpoints.recording.entry import Entry, FileEntry
from headwater.checkpoints.recording.folder import RecordingFolder, is_recording, read_manifest
from headwater.checkpoints.recording.manifest import MOMENTS_FOLDER, Layout, Manifest
from headwater.checkpoints.recording.mean_loss import MeanLoss
from headwater.checkpoints.recording.noted_steps import NotedSteps
from headwater.checkpoints.recording.optimizer import (
    gradient_of,
    kind_of,
    layout_of,
    moments_of,
    settings_of,
    torch_optimizer,
)
from headwater.checkpoints.recording.step_log import log_before
from headwater.checkpoints.recording.steps_entry import END, LOG
from headwater.checkpoints.recording.thinning import thinned_stride
from headwater.checkpoints.recording.weights import (
    apart,
    describe_model,
    refuse_other_model,
    state_tensors,
    unwrapped,
    warn_of_extra_state,
)
from headwater.errors import (
    HeadwaterWarning,
    InputError,
    RecordingExistsError,
    RecordingMismatchError,
)
from headwater.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self


# So many times more losses than there ever were between two updates: updates have ceased.
_UNUSUAL = 10


class CheckpointRecorder:
    """Takes checkpoints of a training loop, with what TracIn needs to know about each.

        with CheckpointRecorder("run", model, optimizer, every=100, keep=20) as recorder:
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss = loss_fn(model(inputs), targets)
                loss.backward()
                recorder.note_loss(loss)
                optimizer.step()

    It watches the optimizer. Right before update number t (t = 0, every, 2 * every, ...) it writes
    the weights w_t from which the update is taken and the learning rates rate_t with which it is:
    TracIn follows the update w_{t+1} = w_t - rate_t * grad L(w_t), so that these weights and these
    rates are the ones that belong together. Neither the place of a scheduler's `step()` nor that of
    `note_loss` in the loop can part them, and the weights after the last update, from which no
    update is taken, are no checkpoint. An update that mixed precision skips is none.

    Training isn't touched: no random number is drawn, and weights, gradients, train/eval mode and
    the optimizer stay as they are. A step without a checkpoint costs a remainder. A checkpoint is
    written before `optimizer.step()` goes on; memory: a copy of the model's state on the CPU.

    The process may be killed at any moment: `CheckpointSeries.open(folder)` then has every
    checkpoint that was committed. What is in the folder: docs/recording-format.md.

    Going on with training: where the folder has a recording and `start` is more than 0, recording
    goes on; checkpoints from update `start` on are of updates that are taken anew, and are removed
    at once. With `start=0` the folder must have no recording, or `overwrite=True` removes it.

    In distributed training make one in one process only, the one of rank 0. Sharded models can't be
    recorded.

    Args:
        folder: where checkpoints are written; made if it doesn't exist.
        model: the model that is trained. DataParallel, DDP and torch.compile are seen through.
        optimizer: the one that updates it: any `torch.optim.Optimizer`, or what wraps one.
        every: updates from one checkpoint to the next; `len(loader)` for one per epoch.
        keep: how many checkpoints remain at the most, at least 2. Where it would be more, every
            second one goes and the distance doubles, so that those that remain are spaced evenly
            and the first is always among them. None keeps all.
        moments: whether the optimizer's own tensors (momentum, Adam's moments) and the gradient of
            the update are written too, for methods that know the optimizer. They take twice as much
            again as the model, with Adam three times.
        start: how many updates the model has had already, when training is resumed.
        overwrite: whether a recording that is in the folder may be removed.

    Raises:
        InputError: an argument is of the wrong kind, or the optimizer isn't that of the model.
        LearningRateError: a parameter group of the optimizer has no learning rate.
        RecordingExistsError: there is a recording in the folder, or there are other files.
        RecordingMismatchError: the recording in the folder is of another model, or has another
            `every`.
        RecordingLockedError: another recorder is writing to the folder.
        RecordingWriteError: the folder can't be written to.

    Source: Pruthi et al. (2020), arXiv 2002.08484, section 3: the step from w_t with the rate of
        step t.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        model: nn.Module,
        optimizer: object,
        *,
        every: int,
        keep: int | None = None,
        moments: bool = False,
        start: int = 0,
        overwrite: bool = False,
    ) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise InputError(f"folder is a {type(folder).__name__}; expected a path")
        if not isinstance(model, nn.Module):
            raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
        _refuse_odd_number("every", every, least=1)
        _refuse_odd_number("start", start, least=0)
        if keep is not None:
            _refuse_odd_number("keep", keep, least=2)
        self._model = unwrapped(model)
        self._optimizer = torch_optimizer(optimizer)
        self._keep = keep
        self._moments = moments
        self._step = start
        self._mean_loss = MeanLoss()
        self._unanswered = 0
        self._usual = 1
        described = describe_model(self._model)
        layout_of(self._optimizer, self._model)
        settings_of(self._optimizer)
        warn_of_extra_state(self._model)
        self._folder = RecordingFolder(Path(folder))
        self._closed = False
        try:
            self._manifest = self._begun(described, every, start, overwrite=overwrite)
        except BaseException:
            self._folder.close()
            raise
        self._noted = NotedSteps(self._folder, self._manifest.steps, start)
        self._hook = self._optimizer.register_step_pre_hook(self._before_update)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self.close()
        else:
            self._stop()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"before update {self._step}"
        return (
            f"CheckpointRecorder({str(self._folder.path)!r}, {state}, "
            f"{len(self._manifest.checkpoints)} checkpoints)"
        )

    def note_loss(self, loss: float | Tensor) -> None:
        """Note the training loss of a batch, once per batch; called before `optimizer.step()`.

        A checkpoint has the mean of those noted since the one before it, for `recommend` to go by.
        A tensor isn't waited for until then.

        Args:
            loss: the number that is minimised.

        Raises:
            InputError: it isn't one number, or the recorder is closed.
        """
        if self._closed:
            raise InputError("the recorder is closed; note losses within its `with` block")
        self._mean_loss.add(loss)
        self._unanswered += 1

    def batch(self, examples: Iterable[int] | Tensor) -> None:
        """Note which examples the next update's batch is of, right before their forward pass.

        With this, for every update from the first on, the run can be taken again by a
        `TrainingRun`: beside the checkpoints the recording then lists every update with its
        examples, the optimizer's settings, and the state of PyTorch's random number generator on
        the CPU where the forward pass draws from it, as dropout does; and, when it is closed, the
        weights at the end. The list counts up to the last checkpoint until then.

        Args:
            examples: the places of the batch's examples in the training data, in the batch's order.

        Raises:
            InputError: they are no such places; or the batch before had no update of its own, as
                where gradients of several batches are added up; or updates went by without.
        """
        if self._closed:
            raise InputError("the recorder is closed; note batches within its `with` block")
        self._noted.note(examples, self._step)

    def close(self) -> None:
        """Stop recording, and let others write to the folder. A second call does nothing.

        Warns if losses were noted and updates didn't come, as when another optimizer has taken the
        place of the one that is watched.
        """
        if self._closed:
            return
        try:
            self._end()
        finally:
            self._stop()
        if self._unanswered > _UNUSUAL * self._usual:
            warnings.warn(
                f"{self._unanswered} losses were noted since the last update that the watched "
                f"{type(self._optimizer).__name__} took (update {self._step}), so nothing was "
                f"recorded of what came after; if another optimizer has taken its place, make a "
                f"recorder of that one, with start={self._step}",
                HeadwaterWarning,
                stacklevel=2,
            )

    def _end(self) -> None:
        """Lists the updates since the last checkpoint, and writes the weights after them."""
        entry = self._noted.listed()
        if entry is not None:
            end = self._write(END, state_tensors(self._model), {"step": str(self._step)})
            self._manifest = replace(self._manifest, steps=replace(entry, end=end))
            self._folder.commit(self._manifest)

    def _stop(self) -> None:
        if not self._closed:
            self._closed = True
            self._noted.close()
            self._hook.remove()
            self._folder.close()

    def _begun(
        self, described: Mapping[str, Any], every: int, start: int, *, overwrite: bool
    ) -> Manifest:
        """The state to go on from."""
        path = self._folder.path
        fresh = Manifest(described, every, every, versions=_versions())
        found = read_manifest(path) if is_recording(path) else fresh
        if not found.checkpoints or (overwrite and not start):
            # Before any checkpoint, so that one without a manifest is never ours to remove.
            self._folder.commit(fresh)
            self._folder.remove(LOG)
            return fresh
        if not start:
            taken = [entry.step for entry in found.checkpoints]
            raise RecordingExistsError(
                f"{path} has a recording of {len(taken)} checkpoints, of steps {taken[0]} to "
                f"{taken[-1]}: to go on with that training run, pass start=, the number of updates "
                f"that the model has had; to record another one, name a new folder, or pass "
                f"overwrite=True to remove what is there"
            )
        refuse_other_model(found.model, described, str(path))
        if found.every != every:
            raise RecordingMismatchError(
                f"the recording in {path} was begun with every={found.every}, and this is "
                f"every={every}; go on with every={found.every}, or name a new folder"
            )
        kept = tuple(entry for entry in found.checkpoints if entry.step < start)
        # Of the present model too: it may have been renamed.
        steps = None if found.steps is None else log_before(path, start)
        if found.steps is not None and steps is None:
            warnings.warn(
                f"the list of updates in {path} doesn't go up to update {start}, so that the run "
                f"can be taken again from a later checkpoint only, and with moments=True",
                HeadwaterWarning,
                stacklevel=4,
            )
        manifest = self._thinned(replace(found, model=described, checkpoints=kept, steps=steps))
        self._folder.commit(manifest)
        if steps is None:
            self._folder.remove(LOG)
        return manifest

    def _before_update(self, *_: object) -> None:
        step = self._step
        self._noted.refuse_none(step)
        if step % self._manifest.stride == 0:
            self._take(step)
        self._noted.taken(step, self._model, self._optimizer)
        # Only now: an update that couldn't be recorded isn't taken either.
        self._step = step + 1
        self._usual = max(self._usual, self._unanswered)
        self._unanswered = 0

    def _take(self, step: int) -> None:
        manifest = self._thinned(self._manifest, step)
        if step % manifest.stride:
            # It would be the first to go.
            self._folder.commit(manifest)
            self._manifest = manifest
            return
        layouts, place = _with_layout(manifest.layouts, layout_of(self._optimizer, self._model))
        settings = settings_of(self._optimizer)
        losses = self._mean_loss.count
        loss = self._mean_loss.take()
        name = f"step-{step:09d}.safetensors"
        metadata = {"format": "pt", "step": str(step), "learning_rate": _said(settings)}
        moments: FileEntry | None = None
        if self._moments:
            found = moments_of(self._optimizer, self._model)
            found.update(gradient_of(self._optimizer, self._model))
            moments = self._write(f"{MOMENTS_FOLDER}/{name}", found, {"step": str(step)})
        entry = Entry(
            step=step,
            weights=self._write(name, state_tensors(self._model), metadata),
            moments=moments,
            loss=loss,
            losses=losses,
            optimizer=kind_of(self._optimizer),
            layout=place,
            settings=settings,
        )
        manifest = replace(
            manifest,
            layouts=layouts,
            checkpoints=(*manifest.checkpoints, entry),
            steps=self._noted.listed(),
        )
        self._folder.commit(manifest)
        self._manifest = manifest

    def _thinned(self, manifest: Manifest, *coming: int) -> Manifest:
        steps = [*(entry.step for entry in manifest.checkpoints), *coming]
        stride = thinned_stride(steps, manifest.stride, self._keep)
        kept = tuple(entry for entry in manifest.checkpoints if entry.step % stride == 0)
        return replace(manifest, stride=stride, checkpoints=kept)

    def _write(
        self, name: str, tensors: Mapping[str, Tensor], metadata: dict[str, str]
    ) -> FileEntry:
        def fill(path: Path) -> None:
            save_file(apart(tensors), path, metadata)

        with torch.no_grad():
            return self._folder.write(name, fill)


def _with_layout(layouts: tuple[Layout, ...], layout: Layout) -> tuple[tuple[Layout, ...], int]:
    """The layouts with this one among them, and its place. It changes where groups are added."""
    if layout not in layouts:
        layouts = (*layouts, layout)
    return layouts, layouts.index(layout)


def _said(settings: tuple[Mapping[str, Any], ...]) -> str:
    """The rate as a file by itself says it; of several, what makes a reader refuse to pick one."""
    rates = dict.fromkeys(group["lr"] for group in settings)
    return " and ".join(repr(rate) for rate in rates)


def _refuse_odd_number(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {value!r}; expected an int of at least {least}")


def _versions() -> dict[str, str]:
    return {
        "headwater": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
