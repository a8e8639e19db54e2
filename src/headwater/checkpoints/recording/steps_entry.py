"""What a manifest says of the updates of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwater.checkpoints.recording.entry import FileEntry

STEPS_FOLDER = "steps"
LOG = f"{STEPS_FOLDER}/steps.jsonl"
END = f"{STEPS_FOLDER}/end.safetensors"


@dataclass(frozen=True)
class StepsEntry:
    """The committed list of updates.

    Attributes:
        log: the file that lists them; what is in it beyond so many bytes belongs to no state.
        first: the number of the first of them.
        count: how many they are, one after the other.
        end: the file of the weights after the last of them; None before recording has ended.
    """

    log: FileEntry
    first: int
    count: int
    end: FileEntry | None = None

    @property
    def stop(self) -> int:
        """The number of the update after the last."""
        return self.first + self.count

    @property
    def files(self) -> list[FileEntry]:
        """All its files."""
        return [self.log] if self.end is None else [self.log, self.end]

    def to_json(self) -> dict[str, Any]:
        """The entry as it stands in the manifest."""
        end = None if self.end is None else vars(self.end)
        return {"log": vars(self.log), "first": self.first, "count": self.count, "end": end}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> StepsEntry:
        """The entry that was written. What is no entry raises KeyError, TypeError or ValueError."""
        log, end = FileEntry(**told["log"]), told["end"]
        end = None if end is None else FileEntry(**end)
        if log.file != LOG or (end is not None and end.file != END):
            raise ValueError("the list of updates has another name than a recorder gives it")
        return cls(log, int(told["first"]), int(told["count"]), end)
