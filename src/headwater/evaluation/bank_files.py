"""The files of a bank: each is whole or absent at every moment."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from filelock import Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from headwater.errors import (
    BankCorruptError,
    BankLockedError,
    BankNotFoundError,
    BankVersionError,
    BankWriteError,
)
from headwater.files import lock_for_writing, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

MANIFEST = "bank.json"
_LOCK = ".lock"
_UNFINISHED = ".tmp"
_FORMAT, _VERSION = "headwater-bank", 1
_METADATA = "headwater"


class BankFiles:
    """A folder with a bank in it: what it is of, in JSON, and parts in safetensors.

    Args:
        path: the folder, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether a bank was begun here."""
        return (self.path / MANIFEST).is_file()

    def strangers(self) -> list[str]:
        """What is in the folder that no bank has put there."""
        names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        return [
            name
            for name in names
            if name not in (_LOCK, MANIFEST, f"{MANIFEST}{_UNFINISHED}")
            and not name.startswith("part-")
        ]

    def read(self) -> dict[str, Any]:
        """What the bank is of.

        Raises:
            BankNotFoundError: there is none.
            BankVersionError: it is of another version.
            BankCorruptError: the file isn't what was written.
        """
        if not self.exists():
            raise BankNotFoundError(
                f"there is no bank of retrained models at {self.path} (no {MANIFEST}); make one "
                f"by RetrainedBank.build(path, retraining, subsets, queries)"
            )
        try:
            read = json.loads((self.path / MANIFEST).read_bytes())
            kind, version, told = read["format"], read["version"], read["bank"]
        except (ValueError, KeyError, TypeError) as error:
            raise BankCorruptError(
                f"{self.path / MANIFEST} isn't that of a bank ({error})"
            ) from error
        if kind != _FORMAT or version != _VERSION:
            raise BankVersionError(
                f"{self.path} is a {kind} of version {version}; this version of headwater reads "
                f"{_FORMAT} of version {_VERSION}"
            )
        if read.get("sha256") != _digest_of(told):
            raise BankCorruptError(
                f"{self.path / MANIFEST} was changed since it was written; build anew"
            )
        found: dict[str, Any] = told
        return found

    def begin(self, told: dict[str, Any]) -> None:
        """Writes what the bank is of."""
        whole = {
            "format": _FORMAT,
            "version": _VERSION,
            "sha256": _digest_of(told),
            "bank": told,
        }
        self._write(MANIFEST, (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode())

    def has_part(self, number: int) -> bool:
        """Whether a part was committed."""
        return (self.path / _name(number)).is_file()

    def write_part(self, number: int, tensors: Mapping[str, Tensor], binding: str) -> None:
        """Commits a part.

        Raises:
            BankWriteError: it can't be written; nothing of it is left.
        """
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        # Under one key: safetensors writes several in another order each time.
        told = json.dumps(
            {"binding": binding, "part": number, "sha256": _digest(kept)}, sort_keys=True
        )
        self._write(_name(number), save(kept, {_METADATA: told}))

    def part(self, number: int, binding: str) -> dict[str, Tensor]:
        """A part's tensors, all of them read.

        Raises:
            BankCorruptError: the file isn't the one that was written.
        """
        path = self.path / _name(number)
        try:
            with safe_open(path, framework="pt") as file:
                told = json.loads((file.metadata() or {})[_METADATA])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise BankCorruptError(f"{path} can't be read ({error}); delete it, and build") from (
                error
            )
        if told.get("binding") != binding or told.get("part") != number:
            raise BankCorruptError(f"{path} is a part of another bank; delete it, and build")
        if told.get("sha256") != _digest(tensors):
            raise BankCorruptError(
                f"{path}: bytes on disk changed since they were written; delete it, and build"
            )
        return tensors

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Within, this process alone may write; leftovers of one that was killed are gone.

        Raises:
            BankLockedError: another one is writing.
            BankWriteError: the folder can't be made.
        """
        try:
            lock = lock_for_writing(self.path / _LOCK)
        except Timeout as error:
            raise BankLockedError(
                f"another process is building the bank at {self.path}; wait until it has ended"
            ) from error
        except OSError as error:
            raise BankWriteError(f"{self.path} can't be made a folder: {error}") from error
        try:
            for path in self.path.glob(f"*{_UNFINISHED}"):
                path.unlink()
            yield
        finally:
            lock.release()

    def _write(self, name: str, data: bytes) -> None:
        unfinished = self.path / f"{name}{_UNFINISHED}"
        try:
            write_whole(self.path / name, data, unfinished=unfinished)
        except OSError as error:
            raise BankWriteError(
                error.errno,
                f"{name} can't be written to {self.path} ({error.strerror}); what was committed is "
                f"there. Make room, and build again",
            ) from error


def _name(number: int) -> str:
    return f"part-{number:06d}.safetensors"


def _digest_of(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
