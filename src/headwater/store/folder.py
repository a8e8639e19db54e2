"""The folder of a store: reading its state, and replacing it by the next in one step."""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import Timeout

from headwater.errors import (
    StoreCorruptError,
    StoreLockedError,
    StoreNotFoundError,
    StoreUnsafeError,
    StoreWriteError,
)
from headwater.files import lock_for_writing, write_whole
from headwater.store.manifest import LARGEST_MANIFEST, SHARD_NAME, Manifest, ShardEntry
from headwater.store.remote import is_copy
from headwater.store.shard import Shard, header_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MANIFEST = "manifest.json"
_LOCK = ".lock"
_RANKS_LOCK = re.compile(r"\.lock-\d+")
_UNFINISHED = ".tmp"
_CHUNK = 16 * 2**20


class StoreFolder:
    """A folder that holds one store.

    Args:
        path: the folder, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether a store was begun here."""
        return (self.path / _MANIFEST).exists() or (self.path / _MANIFEST).is_symlink()

    def strangers(self) -> list[str]:
        """The names of files in the folder that no store has put there; none without a folder."""
        names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        return [
            name
            for name in names
            if name not in (_LOCK, _MANIFEST, f"{_MANIFEST}{_UNFINISHED}")
            and not _RANKS_LOCK.fullmatch(name)
            and not SHARD_NAME.fullmatch(name.removesuffix(_UNFINISHED))
        ]

    def read_manifest(self) -> Manifest:
        """The present state.

        Raises:
            StoreNotFoundError: there is no store.
            StoreCorruptError, StoreUnsafeError, StoreVersionError: see `Manifest.from_bytes`.
        """
        if not self.exists():
            raise StoreNotFoundError(
                f"there is no gradient store at {self.path} (no {_MANIFEST}); make one by "
                f"GradientStore.build(estimator, path)"
            )
        path = self._inside(_MANIFEST)
        if path.stat().st_size > LARGEST_MANIFEST:
            raise StoreCorruptError(f"{_MANIFEST} is larger than any manifest can be")
        return Manifest.from_bytes(path.read_bytes())

    def open_shards(self, manifest: Manifest) -> list[Shard]:
        """All shards of a state, open.

        Raises:
            StoreCorruptError: a shard is missing, or isn't the one that was committed.
            StoreUnsafeError: a shard is a link.
        """
        digest = manifest.binding_digest
        shards = []
        for entry in manifest.shards:
            path = self._inside(entry.file)
            if not path.is_file():
                raise StoreCorruptError(f"{entry.file} is missing; restore it, or build again")
            shards.append(Shard(path, entry, digest))
        return shards

    def verify(self, manifest: Manifest) -> None:
        """Reads every byte of every shard.

        Raises:
            StoreCorruptError: a shard's bytes aren't those that were written.
        """
        for entry in manifest.shards:
            digest = hashlib.sha256()
            with self._inside(entry.file).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            if digest.hexdigest() != entry.sha256:
                raise StoreCorruptError(
                    f"{entry.file}: bytes on disk changed since they were written; restore it, or "
                    f"build again"
                )

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Within, this process alone may write, and ranks that it shares a job with.

        Raises:
            StoreLockedError: another one is writing.
            StoreWriteError: the folder can't be made, or is the copy of a store at a URL.
        """
        if is_copy(self.path):
            raise StoreWriteError(
                f"{self.path} is the copy of a store at a URL, which isn't written to; copy it to "
                f"a folder of your own, change it there, and put it in the URL's place"
            )
        with self._locked(_LOCK):
            # Ranks of a job whose first rank was killed may not have noticed yet.
            for path in sorted(self.path.iterdir()):
                if _RANKS_LOCK.fullmatch(path.name):
                    with self._locked(path.name):
                        path.unlink(missing_ok=True)
            yield Writer(self)

    @contextmanager
    def writing_shards(self, rank: int) -> Iterator[Writer]:
        """Within, another rank than the first may write shards, while the first is `writing`.

        Args:
            rank: this process's.

        Raises:
            StoreLockedError, StoreWriteError: see `writing`.
        """
        name = f"{_LOCK}-{rank}"
        with self._locked(name):
            try:
                yield ShardWriter(self)
            finally:
                (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        try:
            lock = lock_for_writing(self.path / name)
        except Timeout as error:
            raise StoreLockedError(
                f"another process is writing to {self.path}; wait until it has ended"
            ) from error
        except OSError as error:
            raise StoreWriteError(f"{self.path} can't be made a folder: {error}") from error
        try:
            yield
        finally:
            lock.release()

    def _inside(self, name: str) -> Path:
        path = self.path / name
        if path.is_symlink():
            raise StoreUnsafeError(
                f"{name} is a link, which may lead out of the store; it was not followed"
            )
        return path


class Writer:
    """Writes shards and commits states; files are whole or absent at every moment."""

    def __init__(self, folder: StoreFolder) -> None:
        self._folder = folder

    def write_shard(self, number: int, data: bytes, *, rows: int) -> ShardEntry:
        """A shard, on disk but in no state yet.

        Raises:
            StoreWriteError: it can't be written; nothing of it is left.
        """
        entry = ShardEntry(
            file=f"shard-{number:06d}.safetensors",
            rows=rows,
            nbytes=len(data),
            header_sha256=hashlib.sha256(header_of(data)).hexdigest(),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        self._write(entry.file, data)
        return entry

    def commit(self, manifest: Manifest) -> None:
        """Makes this the store's state.

        Raises:
            StoreWriteError: it can't be written; the state is as before.
        """
        self._write(_MANIFEST, manifest.to_bytes())

    def clean(self, manifest: Manifest | None) -> None:
        """Removes what belongs to no state: leftovers of a writer that was killed."""
        kept = set() if manifest is None else {entry.file for entry in manifest.shards}
        for path in self._folder.path.iterdir():
            name = path.name.removesuffix(_UNFINISHED)
            ours = name == _MANIFEST or SHARD_NAME.fullmatch(name)
            if ours and (name != path.name or name not in {_MANIFEST, *kept}):
                path.unlink()

    def _write(self, name: str, data: bytes) -> None:
        unfinished = self._folder.path / f"{name}{_UNFINISHED}"
        try:
            write_whole(self._folder.path / name, data, unfinished=unfinished)
        except OSError as error:
            raise StoreWriteError(
                error.errno,
                f"{name} can't be written to {self._folder.path} ({error.strerror}); the store is "
                f"as it was. Make room, or build it elsewhere",
            ) from error


class ShardWriter(Writer):
    """Writes shards of a state that another rank commits, and leaves all else to that one."""

    def commit(self, manifest: Manifest) -> None:
        pass

    def clean(self, manifest: Manifest | None) -> None:
        pass
