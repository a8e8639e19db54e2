"""Gradients on disk: shards of numbers, and a manifest that commits them."""

from headwater.store.folder import StoreFolder, Writer
from headwater.store.manifest import Manifest, ShardEntry
from headwater.store.shard import Shard, shard_contents

__all__ = ["Manifest", "Shard", "ShardEntry", "StoreFolder", "Writer", "shard_contents"]
