"""Gradients on disk: shards of numbers, and a manifest that commits them."""

from headwater.store.folder import StoreFolder, Writer
from headwater.store.manifest import Manifest, ShardEntry
from headwater.store.scratch import Scratch
from headwater.store.shard import Shard, shard_contents

__all__ = ["Manifest", "Scratch", "Shard", "ShardEntry", "StoreFolder", "Writer", "shard_contents"]
