"""Digests of what numbers depend on: the weights of a checkpoint, the training data."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwater.distributed import whole
from headwater.tasks.batch import leaves

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn


def weights_digest(model: nn.Module) -> str:
    """A digest of all parameters and buffers, by name; of sharded ones all ranks call this."""
    digest = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(name.encode())
        _add(digest, whole(tensor))
    return digest.hexdigest()


def data_fingerprint(count: int | None, sample: Iterable[Any]) -> str:
    """A digest of the number of examples and of some of them, as `TrainingData.spread` gives them.

    Of a stream that is the first batch only: it can't be read twice for certain, nor jumped in.
    """
    digest = hashlib.sha256(repr(count).encode())
    for part in sample:
        for leaf in leaves(part):
            _add(digest, leaf)
    return digest.hexdigest()


def _add(digest: Any, leaf: Any) -> None:
    if isinstance(leaf, Tensor):
        digest.update(f"{leaf.dtype}{tuple(leaf.shape)}".encode())
        digest.update(leaf.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    else:
        digest.update(repr(leaf).encode())
