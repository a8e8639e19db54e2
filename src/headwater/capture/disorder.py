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

Site = tuple[tuple[str, ...], int, int]
"""An index that rows are taken or put by: the graph's operators that do, which, and its axis."""

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
        (names, place, axis)
        for place, node in enumerate(nodes)
        for axis in _out_of_order(node, size)
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


def _out_of_order(node: Any, size: int) -> list[int]:
    """The axes along which an operator's rows aren't in order; -1: it can't be told."""
    try:
        return [
            axis for axis, index, extent in _taken_by(node) if not _in_order(index, extent, size)
        ]
    except (AttributeError, RuntimeError):
        # Not saved under a name that is known, or to be recomputed in the backward pass only.
        return [-1]


def _in_order(index: Tensor, extent: int, size: int) -> bool:
    rows = len(index) if index.dim() else 0
    if not rows or rows % size or not extent or extent % size:
        return False
    examples = torch.arange(size, device=index.device).repeat_interleave(rows // size)
    return bool((index // (extent // size) == examples.view(-1, *(1,) * (index.dim() - 1))).all())


def _taken_by(node: Any) -> Iterator[tuple[int, Tensor, int]]:
    """Axes, where every row is taken from or put to along them, and how long they are."""
    if hasattr(node, "_saved_mask"):
        yield 0, *_of_mask(node._saved_mask)
        return
    indices = getattr(node, "_saved_indices", None)
    if isinstance(indices, (tuple, list)):
        # One per axis, but for masks of several axes; they are broadcast, which keeps an order.
        for axis, index in enumerate(indices):
            if index is not None and index.dtype == torch.bool:
                yield axis, *_of_mask(index)
            elif index is not None:
                yield axis, index.flatten(), _extent(node, axis)
        return
    axis = getattr(node, "_saved_dim", 0)
    axis = axis - 2**64 if axis >= 2**63 else axis
    index = node._saved_index if indices is None else indices
    yield axis, index.movedim(axis, 0) if index.dim() > 1 else index, _extent(node, axis)


def _extent(node: Any, axis: int) -> int:
    """How long an axis is that is indexed."""
    shape = getattr(node, "_saved_self_sym_sizes", None)
    if shape is None and node.name().startswith(("Gather", "Take")):
        shape = node._saved_self.shape
    # What rows are put into has the shape of what comes out.
    extent: int = (node._input_metadata[0].shape if shape is None else shape)[axis]
    return extent


def _of_mask(mask: Tensor) -> tuple[Tensor, int]:
    return mask.nonzero()[:, 0], mask.shape[0]
