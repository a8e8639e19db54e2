"""The manifest: what a store is made of, and which files make it up."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from headwater.errors import StoreCorruptError, StoreUnsafeError, StoreVersionError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "headwater-gradient-store"
VERSION = 1
SHARD_NAME = re.compile(r"shard-\d{6,}\.safetensors")
# A shard takes some 300 bytes of manifest, so this is more than any store that was ever written.
LARGEST_MANIFEST = 256 * 2**20


@dataclass(frozen=True)
class ShardEntry:
    """One committed shard.

    Attributes:
        file: its name within the folder.
        rows: the number of examples in it, deleted ones among them.
        nbytes: its size.
        header_sha256: of its header, which is looked at on opening.
        sha256: of all of it, which `verify` looks at.
        deleted: the places in it, in order, of examples that were deleted since it was written.
    """

    file: str
    rows: int
    nbytes: int
    header_sha256: str
    sha256: str
    deleted: tuple[int, ...] = ()

    @property
    def live(self) -> int:
        """The number of examples in it that weren't deleted."""
        return self.rows - len(self.deleted)


@dataclass(frozen=True)
class Manifest:
    """The state of a store, which one rename replaces by the next.

    Attributes:
        binding: what the numbers depend on, by field.
        weights: what the products of each of the parts of a shard are multiplied by.
        batch_size: examples per batch when it was built, for an interrupted build to go on with.
        complete: whether the build has ended.
        shards: the committed shards, in the order of their examples.
        next_shard: the number of the next shard; none is ever used twice.
        next_id: how many examples were ever added, and the id of the next where none are given.
        built: how many examples the build itself added.
        batches: how many batches the shards were made of, for an interrupted build to go on with.
        versions: of the libraries that wrote it; for people, never compared.
    """

    binding: Mapping[str, Any]
    weights: tuple[float, ...]
    batch_size: int
    complete: bool = False
    shards: tuple[ShardEntry, ...] = ()
    next_shard: int = 0
    next_id: int = 0
    batches: int = 0
    built: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def live(self) -> int:
        """The number of examples that weren't deleted."""
        return sum(shard.live for shard in self.shards)

    @property
    def binding_digest(self) -> str:
        """Ties shards to the manifest of the run that made them."""
        return hashlib.sha256(_canonical(self.binding)).hexdigest()

    def with_shard(self, entry: ShardEntry) -> Manifest:
        """The state after one more shard."""
        shards = (*self.shards, entry)
        return replace(self, shards=shards, next_shard=self.next_shard + 1)

    def to_bytes(self) -> bytes:
        """The manifest as it stands on disk."""
        contents = {"format": FORMAT, "version": VERSION, **asdict(self)}
        contents["checksum"] = hashlib.sha256(_canonical(contents)).hexdigest()
        return json.dumps(contents, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """The manifest that was written, and nothing else.

        Raises:
            StoreVersionError: it is of a newer version, or of another format.
            StoreCorruptError: it was changed or cut off.
            StoreUnsafeError: it names a file that no shard is called.
        """
        try:
            contents = json.loads(data)
            if not isinstance(contents, dict):
                raise TypeError(f"{type(contents).__name__} in place of an object")
            found, version = contents.pop("format"), contents.pop("version")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreCorruptError(f"manifest.json is damaged ({error}); build again") from error
        if found != FORMAT or version != VERSION:
            raise StoreVersionError(
                f"manifest.json is {found!r} version {version!r}; this headwater reads {FORMAT!r} "
                f"version {VERSION}. Use the headwater that wrote it, or build again"
            )
        try:
            checksum = contents.pop("checksum")
            whole = {"format": found, "version": version, **contents}
            if hashlib.sha256(_canonical(whole)).hexdigest() != checksum:
                raise StoreCorruptError(
                    "manifest.json was changed after it was written; restore it, or build again"
                )
            entries = [{**e, "deleted": tuple(e["deleted"])} for e in contents.pop("shards")]
            shards = tuple(ShardEntry(**entry) for entry in entries)
            weights = tuple(contents.pop("weights"))
            manifest = cls(shards=shards, weights=weights, **contents)
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreCorruptError(f"manifest.json is damaged ({error}); build again") from error
        for shard in shards:
            if not SHARD_NAME.fullmatch(shard.file):
                raise StoreUnsafeError(
                    f"manifest.json names the file {shard.file!r}, which is no name of a shard "
                    f"within the folder; nothing of it was read"
                )
        return manifest


def _canonical(contents: Mapping[str, Any]) -> bytes:
    return json.dumps(contents, sort_keys=True, separators=(",", ":")).encode()
