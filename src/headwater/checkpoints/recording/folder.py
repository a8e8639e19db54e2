"""The folder of a recording: reading its state, and replacing it by the next in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from headwater.checkpoints.recording.entry import FileEntry
from headwater.checkpoints.recording.manifest import (
    MANIFEST,
    MOMENTS_FOLDER,
    WEIGHTS_NAME,
    Manifest,
)
from headwater.checkpoints.recording.steps_entry import END
from headwater.errors import (
    RecordingCorruptError,
    RecordingExistsError,
    RecordingLockedError,
    RecordingNotFoundError,
    RecordingWriteError,
)
from headwater.files import lock_for_writing, put_in_place

_LOCK = ".lock"
# A folder, so that all in it may go: safetensors too writes under a name of its own first, which a
# kill leaves.
_UNFINISHED = ".unfinished"
# Far more than any manifest that was ever written.
_LARGEST_MANIFEST = 256 * 2**20


def is_recording(path: Path) -> bool:
    """Whether a recording was begun in the folder."""
    return (path / MANIFEST).is_file()


def read_manifest(path: Path) -> Manifest:
    """The present state of the recording in a folder. Readers take no lock.

    Raises:
        RecordingNotFoundError: there is none.
        RecordingCorruptError, RecordingVersionError: see `Manifest.from_bytes`.
    """
    if not is_recording(path):
        raise RecordingNotFoundError(
            f"there is no recording in {path} (no {MANIFEST}); make one with "
            f"CheckpointRecorder(folder, model, optimizer, every=...). A folder of other "
            f"checkpoint files is passed to an estimator as it is: checkpoints={str(path)!r}"
        )
    file = path / MANIFEST
    if file.stat().st_size > _LARGEST_MANIFEST:
        raise RecordingCorruptError(f"{file} is larger than any manifest can be")
    return Manifest.from_bytes(file.read_bytes())


def committed(path: Path, entry: FileEntry) -> Path:
    """The path of a committed file.

    Raises:
        RecordingCorruptError: it is missing, or not of the size that was written.
    """
    file = path / entry.file
    if not file.is_file():
        raise RecordingCorruptError(
            f"{file} is missing, although {MANIFEST} names it; restore it, or open the recording "
            f"again if a recorder is at work there"
        )
    if file.stat().st_size != entry.nbytes:
        raise RecordingCorruptError(
            f"{file} has {file.stat().st_size} bytes and not the {entry.nbytes} that were written; "
            f"restore it"
        )
    return file


class RecordingFolder:
    """A folder that this process alone writes a recording to, until it is closed.

    Every file is written in a folder of unfinished ones, synced to the disk and renamed, so that
    under its own name it is whole or absent; the rename of the manifest commits.

    Args:
        path: the folder, which need not exist yet.

    Raises:
        RecordingLockedError: another recorder is writing to it.
        RecordingExistsError: there are files in it that no recorder has put there.
        RecordingWriteError: the folder can't be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._lock = lock_for_writing(path / _LOCK)
        except Timeout as error:
            raise RecordingLockedError(
                f"another recorder is writing to {path}: close() it if it is one of this process "
                f"(a `with` block does), or wait until the other process has ended"
            ) from error
        except OSError as error:
            raise self._failed(error, "the folder can't be made") from error
        try:
            self._refuse_strangers()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets others write."""
        with suppress(OSError):
            # Left where it isn't empty, for the next writer to clean.
            (self.path / _UNFINISHED).rmdir()
        self._lock.release()

    def write(self, name: str, fill: Callable[[Path], None]) -> FileEntry:
        """A file, on disk but in no state yet.

        Args:
            name: its path within the folder.
            fill: writes it at the path it is given.

        Raises:
            RecordingWriteError: it can't be written; nothing of it is left.
        """
        final = self.path / name
        unfinished = self.path / _UNFINISHED / final.name
        try:
            final.parent.mkdir(exist_ok=True)
            unfinished.parent.mkdir(exist_ok=True)
            # Of safetensors' files nobody else may read; they get the mode that any file here has.
            unfinished.touch()
            mode = unfinished.stat().st_mode
            fill(unfinished)
            unfinished.chmod(mode)
            size = unfinished.stat().st_size
            put_in_place(unfinished, final)
        except BaseException as error:
            unfinished.unlink(missing_ok=True)
            if isinstance(error, OSError) or _is_safetensors_error(error):
                raise self._failed(error, f"{name} can't be written") from error
            raise
        return FileEntry(name, size)

    @contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Within, what goes wrong in adding to a file is a RecordingWriteError."""
        try:
            yield
        except OSError as error:
            raise self._failed(error, f"{name} can't be written") from error

    def commit(self, manifest: Manifest) -> None:
        """Makes this the recording's state, and removes what belongs to it no more.

        Raises:
            RecordingWriteError: it can't be written; the state is as before.
        """
        data = manifest.to_bytes()
        self.write(MANIFEST, lambda path: _write_bytes(path, data))
        self.clean(manifest.files)

    def remove(self, name: str) -> None:
        """Removes a file that belongs to no state, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def clean(self, kept: set[str]) -> None:
        """Removes checkpoints of no state: those that were thinned out, leftovers of a kill."""
        for path in self._files_in(_UNFINISHED):
            path.unlink(missing_ok=True)
        for prefix, files in (
            ("", self._files_in("")),
            ("moments/", self._files_in(MOMENTS_FOLDER)),
        ):
            for path in files:
                if WEIGHTS_NAME.fullmatch(path.name) and f"{prefix}{path.name}" not in kept:
                    path.unlink(missing_ok=True)
        if END not in kept:
            self.remove(END)

    def _files_in(self, name: str) -> list[Path]:
        folder = self.path / name
        return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []

    def _refuse_strangers(self) -> None:
        if is_recording(self.path):
            return
        for path in sorted(self.path.iterdir()):
            if path.name not in (_LOCK, _UNFINISHED):
                raise RecordingExistsError(
                    f"{self.path} is no recording and isn't empty ({path.name!r}); name a new "
                    f"folder"
                )

    def _failed(self, error: BaseException, what: str) -> RecordingWriteError:
        reason = getattr(error, "strerror", None) or error
        return RecordingWriteError(
            getattr(error, "errno", None),
            f"{what} in {self.path} ({reason}); what was recorded before is as it was. Make room, "
            f"or record elsewhere",
        )


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _is_safetensors_error(error: BaseException) -> bool:
    # Its errors of input and output are no OSErrors.
    return type(error).__name__ == "SafetensorError"
