"""A store without the estimator it was built by: what needs no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.estimators.stored.binding import complete_manifest, path_of
from headwater.estimators.stored.removing import compacted, without
from headwater.store import StoreFolder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from headwater.store import Manifest


class StoreFiles:
    """The files of a gradient store.

    Args:
        path: the store's folder.

    Raises:
        StoreNotFoundError: there is no store.
        StoreCorruptError, StoreUnsafeError, StoreVersionError: its manifest can't be read.
    """

    def __init__(self, path: str | Path) -> None:
        self._folder = StoreFolder(path_of(path))
        self._folder.read_manifest()

    @property
    def ids(self) -> list[int | str]:
        """The ids of the examples that are present, in the order of the columns of scores."""
        shards = self._folder.open_shards(self._folder.read_manifest())
        return [one for shard in shards for one in shard.ids]

    def info(self) -> dict[str, Any]:
        """What the store holds, and what it was made of; also of one whose build isn't over."""
        return store_info(self._folder.path, self._folder.read_manifest())

    def verify(self) -> None:
        """Opens every shard and reads every byte.

        Raises:
            StoreCorruptError: bytes aren't those that were written.
        """
        manifest = self._folder.read_manifest()
        self._folder.open_shards(manifest)
        self._folder.verify(manifest)

    def delete(self, ids: Iterable[int | str], *, compact: bool = False) -> None:
        """Leaves examples out of all answers from now on.

        Args:
            ids: theirs.
            compact: whether they are removed from the disk, too; with no ids, those that were
                deleted before.

        Raises:
            StoreIncompleteError: the store's build was interrupted.
            StoreLockedError: another process is writing there.
            InputError: an id isn't in the store; nothing was deleted.
        """
        with self._folder.writing() as writer:
            manifest = complete_manifest(self._folder)
            writer.clean(manifest)
            manifest = without(manifest, self._folder.open_shards(manifest), ids)
            writer.commit(manifest)
            if compact:
                shards = self._folder.open_shards(manifest)
                manifest = compacted(manifest, shards, writer)
                writer.commit(manifest)
                writer.clean(manifest)


def store_info(path: Path, manifest: Manifest) -> dict[str, Any]:
    """What a state of a store holds, and what it was made of."""
    nbytes = sum(entry.nbytes for entry in manifest.shards)
    return {
        "path": str(path),
        "examples": manifest.live,
        "complete": manifest.complete,
        "deleted_but_on_disk": sum(len(entry.deleted) for entry in manifest.shards),
        "shards": len(manifest.shards),
        "nbytes": nbytes,
        "bytes_per_example": nbytes / max(1, sum(e.rows for e in manifest.shards)),
        **{key: manifest.binding[key] for key in ("form", "dtype", "loss", "selection")},
        "learning_rates": manifest.binding["learning_rates"],
        "versions": dict(manifest.versions),
    }
