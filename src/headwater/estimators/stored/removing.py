"""Taking examples out of a store, for which no model is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headwater.errors import InputError
from headwater.estimators.stored.example_ids import ids_to_delete

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headwater.store import Manifest, Shard, Writer


def without(manifest: Manifest, shards: Sequence[Shard], ids: Iterable[int | str]) -> Manifest:
    """The state without some examples, which stay on the disk; the caller's to commit.

    Args:
        manifest: the state before.
        shards: its shards, open.
        ids: of the examples.

    Raises:
        InputError: `ids` is no list of ids, or one isn't in the store.
    """
    doomed = ids_to_delete(ids)
    present = {one for shard in shards for one in shard.ids}
    unknown = next((one for one in doomed if one not in present), None)
    if unknown is not None:
        raise InputError(f"no example has the id {unknown!r}; nothing was deleted")
    gone = set(doomed)
    entries = []
    for shard in shards:
        pairs = zip(shard.ids, shard.live.tolist(), strict=True)
        places = [place for one, place in pairs if one in gone]
        deleted = tuple(sorted({*shard.entry.deleted, *places}))
        entries.append(replace(shard.entry, deleted=deleted))
    return replace(manifest, shards=tuple(entries))


def compacted(manifest: Manifest, shards: Sequence[Shard], writer: Writer) -> Manifest:
    """The state with shards that have deleted examples written anew; the caller's to commit."""
    entries = []
    for shard in shards:
        if not shard.entry.deleted:
            entries.append(shard.entry)
        elif len(shard.live):
            data = shard.compacted(manifest.next_shard, manifest.binding_digest)
            entries.append(writer.write_shard(manifest.next_shard, data, rows=len(shard.live)))
            manifest = replace(manifest, next_shard=manifest.next_shard + 1)
    return replace(manifest, shards=tuple(entries))
