"""Recorded checkpoints in the order of training, with their rates, for every estimator."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from headwater.checkpoints.recording.assumption import assumption_notes
from headwater.checkpoints.recording.checkpoint import ParameterGroup, RecordedCheckpoint
from headwater.checkpoints.recording.folder import committed, read_manifest
from headwater.checkpoints.recording.rates import Rates, rule_of
from headwater.checkpoints.recording.recommend import recommended
from headwater.errors import HeadwaterWarning, InputError, NoCheckpointsError

if TYPE_CHECKING:
    from headwater.checkpoints.recording.entry import Entry
    from headwater.checkpoints.recording.manifest import Manifest

logger = logging.getLogger("headwater")


class CheckpointSeries(Sequence[RecordedCheckpoint]):
    """The checkpoints of a recording, in the order of training; `checkpoints=` of any estimator.

    A slice is a series too. Nothing is loaded: the files are read when an estimator comes to them.

    Attributes:
        notes: what TracIn's formula leaves out of how the weights were moved; empty for plain SGD.
        reason: why these checkpoints were chosen; empty unless they were.
    """

    def __init__(
        self,
        checkpoints: Sequence[RecordedCheckpoint],
        *,
        name: str,
        notes: tuple[str, ...] = (),
        reason: str = "",
    ) -> None:
        self._checkpoints = tuple(checkpoints)
        self._name = name
        self.notes = notes
        self.reason = reason

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], *, rates: Rates | None = None
    ) -> CheckpointSeries:
        """The checkpoints that a `CheckpointRecorder` has committed in a folder, up to now.

        TracIn's formula is that of plain SGD, w_{t+1} = w_t - rate_t * grad L(w_t). Where training
        had momentum, weight decay or an optimizer that scales coordinates, the series says in
        `notes` what that means, and warns unless `rates` says that it is known.

        Args:
            folder: the recorder's.
            rates: what checkpoints are weighed by. "recorded": the learning rate of the update that
                was taken from the checkpoint. "effective": for SGD with momentum,
                lr * (1 - dampening) / (1 - momentum), as far as a gradient moves the weights in
                all. None: as recorded, with a warning where that isn't the whole truth.

        Raises:
            RecordingNotFoundError: there is no recording.
            NoCheckpointsError: there is no checkpoint in it yet.
            RecordingCorruptError, RecordingVersionError: a file is missing, changed, or newer.
            LearningRateError: "effective" rates of an optimizer that has none.

        Source: Pruthi et al. (2020), arXiv 2002.08484, section 3, which assumes SGD. Differs: the
            effective rate, the sum of the geometric series that momentum makes of a gradient.
        """
        if not isinstance(folder, str | os.PathLike):
            raise InputError(f"folder is a {type(folder).__name__}; expected a path")
        path = Path(folder)
        rule_of("recorded" if rates is None else rates)
        manifest = read_manifest(path)
        if not manifest.checkpoints:
            raise NoCheckpointsError(
                f"the recording in {path} has no checkpoint yet; the first is committed before the "
                f"optimizer's first update"
            )
        checkpoints = recorded_checkpoints(path, manifest, "recorded" if rates is None else rates)
        notes = assumption_notes(manifest.checkpoints, "recorded" if rates is None else rates)
        if notes and rates is None:
            warnings.warn(
                f"{path}: {' '.join(notes)} (To leave this warning out, say which: "
                f"CheckpointSeries.open(folder, rates=...).)",
                HeadwaterWarning,
                stacklevel=2,
            )
        return cls(checkpoints, name=_name(path, manifest), notes=notes)

    def __len__(self) -> int:
        return len(self._checkpoints)

    @overload
    def __getitem__(self, index: int) -> RecordedCheckpoint: ...
    @overload
    def __getitem__(self, index: slice) -> CheckpointSeries: ...
    def __getitem__(self, index: int | slice) -> RecordedCheckpoint | CheckpointSeries:
        if isinstance(index, slice):
            return CheckpointSeries(self._checkpoints[index], name=self._name, notes=self.notes)
        return self._checkpoints[index]

    @property
    def steps(self) -> list[int]:
        """How many updates had been taken before each checkpoint."""
        return [checkpoint.step for checkpoint in self]

    @property
    def losses(self) -> list[float | None]:
        """The mean of the training losses noted since the checkpoint before; None without any."""
        return [checkpoint.loss for checkpoint in self]

    @property
    def rates(self) -> list[tuple[float, ...]]:
        """By checkpoint, the rate of each parameter group."""
        return [checkpoint.rates for checkpoint in self]

    def recommend(self, n: int) -> CheckpointSeries:
        """The n checkpoints to take, where all would be too many; `reason` says why these.

        Each stands for an equal share of the fall of the training loss, so that most are early,
        where it falls fast, and hardly any from when it has stopped: the gradients of examples that
        are fitted vanish. Without losses, or where they don't fall, they are spread evenly. The
        reason is logged, too.

        Args:
            n: how many; all where there are no more.

        Raises:
            InputError: n is no positive int.
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise InputError(f"n is {n!r}; expected a positive int")
        highest = [max(rates) for rates in self.rates]
        places, reason = recommended(self.steps, self.losses, highest, n)
        logger.info("recommended checkpoints: %s", reason)
        chosen = [self[place] for place in places]
        return CheckpointSeries(chosen, name=self._name, notes=self.notes, reason=reason)

    def __repr__(self) -> str:
        if not self:
            return f"CheckpointSeries(no checkpoint of {self._name})"
        lowest = min(min(rates) for rates in self.rates)
        highest = max(max(rates) for rates in self.rates)
        between = f"{lowest:g}" if lowest == highest else f"{lowest:g} to {highest:g}"
        facts = [
            f"{len(self)} checkpoint{'' if len(self) == 1 else 's'} of {self._name}",
            f"steps {self.steps[0]} to {self.steps[-1]}",
            " and ".join(dict.fromkeys(checkpoint.optimizer for checkpoint in self)),
            f"rates {between}",
        ]
        lines = [f"CheckpointSeries({', '.join(facts)})"]
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  reason: {self.reason}"] if self.reason else []
        return "\n".join(lines)


def recorded_checkpoints(path: Path, manifest: Manifest, rates: Rates) -> list[RecordedCheckpoint]:
    """The checkpoints of a recording, in the order of training; see `CheckpointSeries.open`."""
    rule = rule_of(rates)
    checkpoints = []
    for entry in manifest.checkpoints:
        groups = tuple(
            ParameterGroup(names, settings, rule(entry.optimizer, settings, _called(entry)))
            for names, settings in zip(manifest.layouts[entry.layout], entry.settings, strict=True)
        )
        checkpoints.append(_checkpoint(path, entry, groups))
    return checkpoints


def _checkpoint(path: Path, entry: Entry, groups: tuple[ParameterGroup, ...]) -> RecordedCheckpoint:
    return RecordedCheckpoint(
        path=committed(path, entry.weights),
        step=entry.step,
        loss=entry.loss,
        optimizer=entry.optimizer,
        groups=groups,
        moments_path=None if entry.moments is None else committed(path, entry.moments),
    )


def _called(entry: Entry) -> str:
    return f"checkpoint {entry.weights.file}"


def _name(path: Path, manifest: Manifest) -> str:
    return f"{manifest.model.get('class', 'a model')} in {path}"
