"""Batches as nested tuples, lists and mappings of tensors: moving them, taking examples out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def map_leaves(batch: Any, change: Callable[[Any], Any]) -> Any:
    """The batch with every leaf changed; tuples, lists and mappings keep their type."""
    if isinstance(batch, Tensor):
        # First, since it's by far the most frequent, and asking for a Mapping takes long.
        return change(batch)
    if isinstance(batch, tuple):
        changed = [map_leaves(part, change) for part in batch]
        return type(batch)(*changed) if hasattr(batch, "_fields") else tuple(changed)
    if isinstance(batch, list) and not _is_column(batch):
        return [map_leaves(part, change) for part in batch]
    if isinstance(batch, MutableMapping):
        # A tokenizer's output is a mapping of its own kind that models may rely on.
        result = copy.copy(batch)
        for key, part in batch.items():
            result[key] = map_leaves(part, change)
        return result
    if isinstance(batch, Mapping):
        return {key: map_leaves(part, change) for key, part in batch.items()}
    return change(batch)


def _is_column(batch: list[Any]) -> bool:
    # A list of texts or numbers is one column of the batch, with one entry per example.
    return bool(batch) and all(isinstance(part, (str, bytes, int, float)) for part in batch)


def leaves(batch: Any) -> Iterator[Any]:
    """The leaves of a batch, in order."""
    found: list[Any] = []
    map_leaves(batch, found.append)
    return iter(found)


def borrow(batch: Any, device: torch.device, *, copied: bool = False) -> Any:
    """The batch on `device`, detached from whatever graph its tensors belong to.

    Tensors made under `torch.inference_mode()` can't be saved for a backward pass; they are copied.

    Args:
        batch: what goes into a model.
        device: where the model is.
        copied: whether tensors are the user's own, which a model may write to.
    """

    def borrowed(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            leaf = leaf.detach().clone() if copied or leaf.is_inference() else leaf.detach()
            return leaf.to(device, non_blocking=True)
        if callable(getattr(leaf, "to", None)):
            return leaf.to(device)
        return leaf

    return map_leaves(batch, borrowed)


def examples(batch: Any, start: int, stop: int, *, size: int) -> Any:
    """The examples from `start` to before `stop` of a batch of `size`, as a batch.

    Every tensor, or list of texts or numbers, whose first axis has length `size` is taken to hold
    one entry per example; whatever else is in the batch is passed on whole.
    """
    return map_leaves(batch, lambda leaf: leaf[start:stop] if entries(leaf) == size else leaf)


def entries(leaf: Any) -> int | None:
    """The length of the first axis of a tensor, or of a column; None of anything else."""
    if isinstance(leaf, Tensor):
        return leaf.shape[0] if leaf.dim() else None
    return len(leaf) if isinstance(leaf, list) else None


def leading_size(batch: Any) -> int | None:
    """The length of the first axis of the batch's first tensor or column; None without one."""
    return next((size for leaf in leaves(batch) if (size := entries(leaf)) is not None), None)


def array_in(batch: Any) -> numpy.ndarray[Any, Any] | None:
    """The first of a batch's leaves that is an array of numpy's; None where all are other things.

    Such arrays are neither moved to a device nor cut into examples.
    """
    return next((leaf for leaf in leaves(batch) if isinstance(leaf, numpy.ndarray)), None)


def describe(batch: Any) -> str:
    """A few words on what a batch is, for messages."""
    if isinstance(batch, numpy.ndarray):
        return f"a numpy array of shape {batch.shape}"
    if isinstance(batch, Tensor):
        return f"a tensor of shape {tuple(batch.shape)}"
    if isinstance(batch, Mapping):
        return f"a {type(batch).__name__} with keys {sorted(map(str, batch))}"
    if isinstance(batch, (tuple, list)):
        return f"a {type(batch).__name__} of {len(batch)}"
    return f"a {type(batch).__name__}"


def shapes(batch: Any) -> str:
    """The tensors of a batch, by type and shape, for messages; without any, `describe`."""
    found = [
        f"{str(leaf.dtype).removeprefix('torch.')} {tuple(leaf.shape)}"
        for leaf in leaves(batch)
        if isinstance(leaf, Tensor)
    ]
    return ", ".join(found) or describe(batch)
