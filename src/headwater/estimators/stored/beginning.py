"""The state that a build begins with: a new one, or what an earlier build has left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.distributed import present
from headwater.errors import InputError, StoreError
from headwater.estimators.stored.binding import checkpoint_weights, refuse_mismatch, versions
from headwater.store import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headwater.store import StoreFolder, Writer


def refuse_ranks(url: str) -> None:
    """Raises InputError for several ranks that would build a store at a URL."""
    if present() is not None:
        raise InputError(
            f"a store at a URL ({url}) is built by one process: build it on one rank, within "
            f"headwater.distributed.alone(), or in a folder that all ranks see"
        )


def refuse_strangers(folder: StoreFolder) -> None:
    """Raises StoreError for a folder with files in it that is no store."""
    strangers = [] if folder.exists() else folder.strangers()
    if strangers:
        raise StoreError(
            f"{folder.path} is no gradient store and isn't empty ({strangers[0]!r}); name a new "
            f"folder"
        )


def begun(
    folder: StoreFolder, writer: Writer, binding: Mapping[str, Any], *, tolerance: float
) -> Manifest:
    """The state in a folder, where a store is begun if there is none.

    Args:
        folder: the store's.
        writer: to it.
        binding: of what is to be stored.
        tolerance: see `refuse_mismatch`.

    Raises:
        StoreMismatchError: there is a store of something else.
        StoreError: there is no store, but other files; or one that was changed since it was built.
    """
    if folder.exists():
        manifest = folder.read_manifest()
        refuse_mismatch(manifest.binding, binding, tolerance=tolerance)
        _refuse_changed(folder, manifest)
        writer.clean(manifest)
        return manifest
    refuse_strangers(folder)
    writer.clean(None)
    projected = binding["form"]["kind"] == "projected"
    weights = (1.0,) if projected else tuple(checkpoint_weights(binding))
    manifest = Manifest(binding, weights, batch_size=0, versions=versions())
    writer.commit(manifest)
    return manifest


def _refuse_changed(folder: StoreFolder, manifest: Manifest) -> None:
    """Raises StoreError for a store that holds other examples than a build would give."""
    if not manifest.complete:
        return
    appended = manifest.next_id - manifest.built
    deleted = manifest.next_id - manifest.live
    if not appended and not deleted:
        return
    changes = [
        f"{count} example{'' if count == 1 else 's'} {what}"
        for count, what in ((appended, "appended"), (deleted, "deleted"))
        if count
    ]
    raise StoreError(
        f"the store at {folder.path} was changed since it was built ({' and '.join(changes)}), so "
        f"it isn't what a build gives; use GradientStore.open to go on with it, or build in a new "
        f"folder"
    )
