"""Gradients on disk: shards of numbers, and a manifest that commits them."""

from headwater.store.folder import StoreFolder, Writer
from headwater.store.manifest import Manifest, ShardEntry
from headwater.store.remote import is_url, local_copy, send, workshop
from headwater.store.scratch import Scratch
from headwater.store.shard import Shard, shard_contents

__all__ = [
    "Manifest",
    "Scratch",
    "Shard",
    "ShardEntry",
    "StoreFolder",
    "Writer",
    "is_url",
    "local_copy",
    "send",
    "shard_contents",
    "workshop",
]
