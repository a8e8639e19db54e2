"""The manifest of a recording: which files make it up, and what of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater.checkpoints.recording.entry import Entry
from headwater.checkpoints.recording.steps_entry import StepsEntry
from headwater.errors import RecordingCorruptError, RecordingVersionError

FORMAT = "headwater-recording"
# The second version is the first with a list of updates, and is written only where there is one.
VERSIONS = (1, 2)
MANIFEST = "recording.json"
WEIGHTS_NAME = re.compile(r"step-\d{9,}\.safetensors")
# Moments in a folder below, where whoever reads the weights one by one doesn't take them for some.
MOMENTS_FOLDER = "moments"
# The kind under which the gradient of the update stands among them.
GRADIENT = "gradient"

Layout = tuple[tuple[str, ...], ...]
"""The names of the parameters in every parameter group."""


@dataclass(frozen=True)
class Manifest:
    """The state of a recording, which one rename replaces by the next.

    Attributes:
        model: the name of the class, and of all its state the keys, shapes and dtypes.
        every: how many updates lie between two moments at which a checkpoint may be taken.
        stride: how many lie between those at which it still is, after thinning.
        layouts: the parameter groups that optimizers had, each layout once.
        checkpoints: the committed checkpoints, by step.
        versions: of the libraries that wrote it; for people, never compared.
        steps: the list of updates; None where their batches weren't noted.
    """

    model: Mapping[str, Any]
    every: int
    stride: int
    layouts: tuple[Layout, ...] = ()
    checkpoints: tuple[Entry, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    steps: StepsEntry | None = None

    @property
    def files(self) -> set[str]:
        """The paths, within the folder, of all committed files."""
        files = {file.file for entry in self.checkpoints for file in entry.files}
        return files if self.steps is None else files | {file.file for file in self.steps.files}

    def to_bytes(self) -> bytes:
        """The manifest as it stands on disk."""
        contents: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSIONS[0] if self.steps is None else VERSIONS[1],
            "model": self.model,
            "every": self.every,
            "stride": self.stride,
            "layouts": self.layouts,
            "checkpoints": [entry.to_json() for entry in self.checkpoints],
            "versions": self.versions,
        }
        if self.steps is not None:
            contents["steps"] = self.steps.to_json()
        contents["checksum"] = hashlib.sha256(_canonical(contents)).hexdigest()
        return json.dumps(contents, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """The manifest that was written, and nothing else.

        Raises:
            RecordingVersionError: it is of a newer version, or of another format.
            RecordingCorruptError: it was changed or cut off.
        """
        try:
            contents = json.loads(data)
            found, version = contents["format"], contents["version"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _damaged(error) from error
        if found != FORMAT or version not in VERSIONS:
            raise RecordingVersionError(
                f"{MANIFEST} is {found!r} version {version!r}; this headwater reads {FORMAT!r} "
                f"version {' and '.join(map(str, VERSIONS))}. Use the headwater that wrote it, or "
                f"pass the checkpoint files as a list with learning_rates=[...]"
            )
        try:
            checksum = contents.pop("checksum")
            if hashlib.sha256(_canonical(contents)).hexdigest() != checksum:
                raise RecordingCorruptError(
                    f"{MANIFEST} was changed after it was written; restore it, or pass the "
                    f"checkpoint files as a list"
                )
            del contents["format"], contents["version"]
            layouts = tuple(
                tuple(tuple(group) for group in layout) for layout in contents.pop("layouts")
            )
            entries = tuple(Entry.from_json(told) for told in contents.pop("checkpoints"))
            steps = StepsEntry.from_json(contents.pop("steps")) if version == VERSIONS[1] else None
            manifest = cls(layouts=layouts, checkpoints=entries, steps=steps, **contents)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(error) from error
        for entry in entries:
            _refuse_other_files(entry)
            if not 0 <= entry.layout < len(layouts) or len(layouts[entry.layout]) != len(
                entry.settings
            ):
                raise _damaged(ValueError(f"the groups of step {entry.step} don't fit its rates"))
        return manifest


def _refuse_other_files(entry: Entry) -> None:
    """Raises RecordingCorruptError for a file that no recorder would have named so."""
    names = [entry.weights.file]
    if entry.moments is not None:
        names.append(entry.moments.file.removeprefix(f"{MOMENTS_FOLDER}/"))
    for name in names:
        if not WEIGHTS_NAME.fullmatch(name):
            raise RecordingCorruptError(
                f"{MANIFEST} names the file {name!r}, which is no name of a checkpoint within the "
                f"folder; nothing of it was read"
            )


def _damaged(error: Exception) -> RecordingCorruptError:
    if isinstance(error, RecordingCorruptError):
        return error
    return RecordingCorruptError(
        f"{MANIFEST} is damaged ({error}); restore it, or pass the checkpoint files as a list"
    )


def _canonical(contents: Mapping[str, Any]) -> bytes:
    return json.dumps(contents, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
