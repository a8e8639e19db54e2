"""Digests of the training data: a quick one that decisions name, and one of every example."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwater.engine.fingerprint import data_fingerprint
from headwater.tasks.batch import leaves

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headwater.engine import TrainingData

_SAMPLE = 16


class DataDigest:
    """Digests of some data.

    Attributes:
        fingerprint: of the number of examples and of 16 of them, at even distances.
        examples: how many there are.
    """

    def __init__(self, data: TrainingData) -> None:
        self.examples = data.count
        self.fingerprint = data_fingerprint(data.count, data.spread(_SAMPLE))
        self._parts: list[Any] = []

    def through(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches as they are, each noted on the way."""
        for batch in batches:
            for place, leaf in enumerate(leaves(batch)):
                if place == len(self._parts):
                    self._parts.append(hashlib.sha256())
                # Leaf by leaf, so that the digest doesn't depend on the size of batches.
                self._parts[place].update(_bytes(leaf))
            yield batch

    @property
    def every_example(self) -> str:
        """The digest of all that went `through`."""
        return hashlib.sha256(
            "".join(part.hexdigest() for part in self._parts).encode()
        ).hexdigest()


def _bytes(leaf: Any) -> bytes:
    if isinstance(leaf, Tensor):
        flat = leaf.detach().cpu().contiguous().view(-1)
        found: bytes = flat.view(torch.uint8).numpy().tobytes()
        return found
    return repr(leaf).encode()
