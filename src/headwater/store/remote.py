"""Stores at URLs: copied to this machine when they are opened, sent as a whole when built."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from headwater.errors import (
    MissingDependencyError,
    StoreCorruptError,
    StoreNotFoundError,
    StoreWriteError,
)
from headwater.files import write_whole
from headwater.store.manifest import LARGEST_MANIFEST, Manifest

if TYPE_CHECKING:
    from headwater.store.manifest import ShardEntry

_MANIFEST = "manifest.json"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*(://|::)")
# Copies lie in folders named by a digest of the manifest they are of.
_COPIES = "copies"
_BUILT_HERE = "build"
_PATIENCE_SECONDS = 3600
_CHUNK = 16 * 2**20


def is_url(path: object) -> bool:
    """Whether a store's place is a URL (`s3://...`), rather than a folder."""
    return isinstance(path, str) and _URL.match(path) is not None


def is_copy(folder: Path) -> bool:
    """Whether a folder is the copy of a store at a URL, so that what is written there is lost."""
    return folder.parent.name == _COPIES and (folder.parent.parent / "url").is_file()


def cache_folder() -> Path:
    """Where copies of stores lie: `HEADWATER_CACHE`, or the user's folder for caches."""
    given = os.environ.get("HEADWATER_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headwater"


def local_copy(url: str) -> Path:
    """A folder on this machine with the store that is at a URL now.

    Files that an earlier copy has are not fetched again; copies of earlier states are removed.

    Raises:
        StoreNotFoundError: there is no store.
        StoreWriteError: the copy can't be written.
        StoreCorruptError: a file isn't the one that the manifest commits, or can't be read.
        StoreUnsafeError, StoreVersionError: see `Manifest.from_bytes`.
        MissingDependencyError: the URL's kind needs a package that isn't installed.
    """
    place = _Place(url)
    data = place.manifest()
    if data is None:
        raise StoreNotFoundError(
            f"there is no gradient store at {url} (no {_MANIFEST}); make one by "
            f"GradientStore.build(estimator, {url!r})"
        )
    manifest = Manifest.from_bytes(data)
    with place.alone():
        folder = place.copies / hashlib.sha256(data).hexdigest()[:20]
        if not (folder / _MANIFEST).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            for entry in manifest.shards:
                place.fetch(entry, folder)
            _write(folder / _MANIFEST, data)
        for other in place.copies.iterdir():
            if other != folder:
                _remove(other)
    return folder


def workshop(url: str) -> Path:
    """The folder in which the store for a URL is built before it is sent there.

    It begins as what is at the URL, if something is, and is left by a build that was interrupted.
    """
    place = _Place(url)
    if place.manifest() is not None and not (place.workshop / _MANIFEST).is_file():
        copied = local_copy(url)
        place.workshop.mkdir(parents=True, exist_ok=True)
        for file in sorted(copied.iterdir(), key=lambda path: path.name == _MANIFEST):
            if not file.name.startswith("."):
                _link(file, place.workshop / file.name)
    return place.workshop


def send(url: str) -> None:
    """Puts what was built in `workshop(url)` at the URL: shards first, then what commits them.

    Raises:
        StoreWriteError: it can't be written; the store that was there, if any, still is.
    """
    place = _Place(url)
    data = (place.workshop / _MANIFEST).read_bytes()
    if data != place.manifest():
        try:
            for entry in Manifest.from_bytes(data).shards:
                place.put(entry.file, (place.workshop / entry.file).read_bytes())
            place.put(_MANIFEST, data)
        except Exception as error:
            # Each kind of place has errors of its own.
            raise StoreWriteError(
                f"the store was built, and can't be written to {url} ({type(error).__name__}: "
                f"{error}). It is kept in {place.workshop}: building again sends it, or copy it"
            ) from error
    _remove(place.workshop)


class _Place:
    """A store's folder at a URL, and what this machine keeps for it.

    Attributes:
        copies: the folder of its copies.
        workshop: where it is built.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._files, self._root = _file_system(url)
        own = cache_folder() / "stores" / hashlib.sha256(url.encode()).hexdigest()[:20]
        self.copies = own / _COPIES
        self.workshop = own / _BUILT_HERE
        try:
            self.copies.mkdir(parents=True, exist_ok=True)
            (own / "url").write_text(url)
        except OSError as error:
            raise _no_room(own, error) from error

    def alone(self) -> Any:
        """Within, this process alone changes the copies."""
        return FileLock(self.copies.parent / ".lock", timeout=_PATIENCE_SECONDS)

    def manifest(self) -> bytes | None:
        """The manifest that is there now; None without one."""
        try:
            with self._files.open(self._at(_MANIFEST), "rb") as file:
                data: bytes = file.read(LARGEST_MANIFEST + 1)
        except FileNotFoundError:
            return None
        if len(data) > LARGEST_MANIFEST:
            raise StoreCorruptError(f"{_MANIFEST} is larger than any manifest can be")
        return data

    def fetch(self, entry: ShardEntry, folder: Path) -> None:
        """Puts a shard into a folder: from an earlier copy, or from where the store is."""
        target = folder / entry.file
        for known in (target, *self.copies.glob(f"*/{entry.file}")):
            if known.is_file() and _digest(known) == entry.sha256:
                if known != target:
                    _link(known, target)
                return
        try:
            data: bytes = self._files.cat_file(self._at(entry.file))
        except FileNotFoundError as error:
            raise StoreCorruptError(
                f"{entry.file} is missing at {self._url}; restore it, or build again"
            ) from error
        if len(data) != entry.nbytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise StoreCorruptError(
                f"{entry.file}: the bytes at {self._url} aren't those that were written (was the "
                f"store replaced meanwhile? then open it again); restore it, or build again"
            )
        _write(target, data)

    def put(self, name: str, data: bytes) -> None:
        """Writes a file that is whole or absent under its name."""
        unfinished = self._at(f"{name}.tmp")
        self._files.makedirs(self._root, exist_ok=True)
        self._files.pipe_file(unfinished, data)
        self._files.mv(unfinished, self._at(name))
        if self._files.size(self._at(name)) != len(data):
            raise OSError(f"{name} arrived with another size than was sent")

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"


def _file_system(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise MissingDependencyError(
            f"a store at {url} needs fsspec, which isn't installed: pip install 'headwater[remote]'"
        ) from error
    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        # fsspec says which package: s3fs, gcsfs, aiohttp and so on.
        raise MissingDependencyError(f"a store at {url} needs another package: {error}") from error
    except ValueError as error:
        raise StoreNotFoundError(f"{url} is no place that a store can be at: {error}") from error
    # Of what was listed before, files that others wrote since are missing.
    files.invalidate_cache()
    return files, str(root).rstrip("/")


def _write(path: Path, data: bytes) -> None:
    try:
        write_whole(path, data, unfinished=path.with_name(f"{path.name}.tmp"))
    except OSError as error:
        raise _no_room(path.parent, error) from error


def _no_room(folder: Path, error: OSError) -> StoreWriteError:
    return StoreWriteError(
        error.errno,
        f"the copy of a store can't be written to {folder} ({error.strerror}); make room, or set "
        f"HEADWATER_CACHE to another folder",
    )


def _link(file: Path, target: Path) -> None:
    """The same file under another name, without copying where the disk can."""
    try:
        os.link(file, target)
    except OSError:
        _write(target, file.read_bytes())


def _digest(path: Path) -> str:
    # Python 3.10 has no hashlib.file_digest.
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _remove(folder: Path) -> None:
    # What another process has open stays readable to it where the system allows removing it, and
    # stays where it doesn't.
    with suppress(OSError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
