"""Where a model takes rows in another order than that of its batch, by the graph of its losses.

A rule credits the rows that go through a layer to examples in the batch's order. A model that sorts
its batch, or leaves rows out, has others in their places, in a way that changes from batch to
batch: in some it is the batch's own order, by chance or since all examples are as long, so that no
look at those few would notice. What does it shows in the graph, as indices that rows are taken by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.autograd.graph import Node

Site = tuple[tuple[str, ...], int]
"""An operator that takes or puts rows by index: those of the graph, in order, and its place."""

_BY_INDEX = frozenset(
    f"{operator}Backward0"
    for operator in (
        *("Index", "IndexAdd", "IndexCopy", "IndexPut", "IndexReduce", "IndexSelect"),
        *("Gather", "Scatter", "ScatterAdd", "ScatterReduce", "Take"),
        *("MaskedSelect", "MaskedScatter", "Sort", "Topk"),
    )
)


def disordered(losses: Tensor, size: int) -> frozenset[Site]:
    """Operators whose rows aren't, example by example, in the batch's order, as far as can be told.

    Most are harmless, as one that picks a class per position: what their rows go through has to be
    held against autograd.

    Args:
        losses: what a forward pass came to, before it is differentiated.
        size: the number of examples in the batch.
    """
    if size < 2 or losses.grad_fn is None:
        return frozenset()
    nodes = list(_by_index(losses.grad_fn))
    names = tuple(node.name() for node in nodes)
    return frozenset(
        (names, place) for place, node in enumerate(nodes) if not _keeps_order(node, size)
    )


def _by_index(last: Node) -> Iterator[Node]:
    seen, waiting = {last}, [last]
    while waiting:
        node = waiting.pop()
        if node.name() in _BY_INDEX:
            yield node
        for before, _ in node.next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                waiting.append(before)


def _keeps_order(node: Any, size: int) -> bool:
    try:
        index, extent = _taken_by(node)
    except (AttributeError, RuntimeError):
        # Not saved under a name that is known, or to be recomputed in the backward pass only.
        return False
    rows = len(index) if index.dim() else 0
    if not rows or rows % size or not extent or extent % size:
        return False
    examples = torch.arange(size, device=index.device).repeat_interleave(rows // size)
    return bool((index // (extent // size) == examples.view(-1, *(1,) * (index.dim() - 1))).all())


def _taken_by(node: Any) -> tuple[Tensor, int]:
    """For every row, where it is taken from or put to along an axis, and how long that axis is."""
    if hasattr(node, "_saved_mask"):
        return _of_mask(node._saved_mask)
    several = hasattr(node, "_saved_indices") and not isinstance(node._saved_indices, Tensor)
    if several:
        axis, index = next(
            (place, each) for place, each in enumerate(node._saved_indices) if each is not None
        )
        if index.dtype == torch.bool:
            return _of_mask(index)
        index = index.flatten()
    else:
        axis = getattr(node, "_saved_dim", 0)
        index = node._saved_indices if hasattr(node, "_saved_indices") else node._saved_index
        axis = axis - 2**64 if axis >= 2**63 else axis
        index = index.movedim(axis, 0) if index.dim() > 1 else index
    if hasattr(node, "_saved_self_sym_sizes"):
        return index, node._saved_self_sym_sizes[axis]
    if "Gather" in node.name():
        return index, node._saved_self.shape[axis]
    # What rows are put into has the shape of what comes out.
    return index, node._input_metadata[0].shape[axis]


def _of_mask(mask: Tensor) -> tuple[Tensor, int]:
    return mask.nonzero()[:, 0], mask.shape[0]
