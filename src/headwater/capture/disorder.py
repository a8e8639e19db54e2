"""Where a model takes rows in another order than that of its batch, by the graph of its losses.

A rule credits the rows that go through a layer to examples in the batch's order. A model that sorts
its batch, or leaves rows out, has others in their places, in a way that changes from batch to
batch: in some it is the batch's own order, by chance or since all examples are as long, so that no
look at those few would notice. What does it shows in the graph: indices that rows are taken by,
runs that they are cut into, matrices that they are multiplied with.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from torch.autograd.graph import Node

Site = tuple[tuple[str, ...], int, int, int]
"""Where rows are taken or put: the graph's operators that do, which of them, its axis, its order.
"""

Doubt = tuple[Site, object]
"""A site, and what of it may differ from batch to batch; None: nothing that matters."""

UNTOLD: object = object()
"""What differs can't be told, so that no batch says anything about another."""

_Order = tuple[int, int, object]
"""An axis, the order of rows along it, and what a doubt about that has besides its site."""

# The orders of rows in which no example is in another's place. Of three rows for each example it
# may be the first example's three first, or all examples' first ones; only what is in order both
# ways is so whatever goes on with it. That one order was harmless says nothing of another.
_NEITHER, _BY_EXAMPLE, _BY_STEP, _BOTH = range(4)

_BY_INDEX = frozenset(
    f"{operator}Backward0"
    for operator in (
        *("Index", "IndexAdd", "IndexCopy", "IndexPut", "IndexReduce", "IndexSelect"),
        *("Gather", "Scatter", "ScatterAdd", "ScatterReduce", "Take"),
        *("MaskedSelect", "MaskedScatter", "Sort", "Topk"),
    )
)

# By name of the operator: the operands whose product it is, and their places among what comes in.
_PRODUCTS = {
    "MmBackward0": (("_saved_self", 0), ("_saved_mat2", 1)),
    "BmmBackward0": (("_saved_self", 0), ("_saved_mat2", 1)),
    "AddmmBackward0": (("_saved_mat1", 1), ("_saved_mat2", 2)),
    "BaddbmmBackward0": (("_saved_batch1", 1), ("_saved_batch2", 2)),
}

# More numbers than this aren't told apart: a matrix as large is hardly one that moves rows.
_MOST_NUMBERS = 2**20

# From where a row was taken is looked for through so many operators.
_FARTHEST = 8

_RESHAPES = frozenset(
    f"{operator}Backward0"
    for operator in ("T", "Transpose", "Permute", "View", "UnsafeView", "Expand", "ToCopy", "Clone")
)


def disordered(
    nodes: Iterable[Node], size: int, weights: Callable[[], Container[int]]
) -> frozenset[Doubt]:
    """Operators whose rows aren't, example by example, in the batch's order, as far as can be told.

    Most are harmless, as one that picks a class per position: what their rows go through has to be
    held against autograd.

    Args:
        nodes: the graph of what a forward pass came to, before it is differentiated.
        size: the number of examples in the batch.
        weights: where the memory of the model's own tensors begins. Products with them are layers.
    """
    if size < 2:
        return frozenset()
    own = functools.cache(weights)
    found = [
        (node.name(), orders) for node in nodes if (orders := _orders(node, size, own)) is not None
    ]
    # In one piece, whose hash Python keeps: a loop has as many sites as operators.
    names = (" ".join(name for name, _ in found),)
    return frozenset(
        ((names, place, axis, order), content)
        for place, (_, orders) in enumerate(found)
        for axis, order, content in orders
        if order != _BOTH
    )


def _orders(node: Node, size: int, weights: Callable[[], Container[int]]) -> list[_Order] | None:
    """Axes, and the order of an operator's rows along each; None: it leaves rows as they are."""
    name = node.name()
    if name not in _MOVES:
        return None
    try:
        if name in _BY_INDEX:
            return [_by_index(axis, index, extent, size) for axis, index, extent in _taken_by(node)]
        if name in _PRODUCTS:
            return _mixing(node, _PRODUCTS[name], size, weights)
        return _OTHERS[name](node, size)
    except (AttributeError, RuntimeError, IndexError):
        # Not saved under a name that is known, or to be recomputed in the backward pass only.
        return [(-1, _NEITHER, None)]


def _by_index(axis: int, index: Tensor, extent: int, size: int) -> _Order:
    order = _order(index, extent, size)
    # Along other axes it is mostly a class, or a step, that differs from batch to batch.
    differs = order == _NEITHER and axis == 0
    return axis, order, _content(index) if differs else None


def _content(numbers: Tensor) -> object:
    if numbers.numel() > _MOST_NUMBERS:
        return None
    return hash((tuple(numbers.shape), numbers.cpu().contiguous().numpy().tobytes()))


def _order(index: Tensor, extent: int, size: int) -> int:
    rows = len(index) if index.dim() else 1
    if not rows:
        return _BOTH
    if rows % size or not extent or extent % size:
        return _NEITHER
    shape = (-1, *(1,) * (index.dim() - 1))
    order = _NEITHER
    examples = torch.arange(size, device=index.device).repeat_interleave(rows // size)
    if bool((index // (extent // size) == examples.view(shape)).all()):
        order |= _BY_EXAMPLE
    examples = torch.arange(rows, device=index.device) % size
    if bool((index % size == examples.view(shape)).all()):
        order |= _BY_STEP
    return order


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
    axis = _axis(node)
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


def _axis(node: Any) -> int:
    return _signed(getattr(node, "_saved_dim", 0))


def _signed(number: int) -> int:
    """What a node keeps as an unsigned number."""
    return number - 2**64 if number >= 2**63 else number


def _mixing(
    node: Any,
    operands: Sequence[tuple[str, int]],
    size: int,
    weights: Callable[[], Container[int]],
) -> list[_Order] | None:
    """Which operands are matrices by which rows are added up, and in which order.

    Such as one that has a 1, or a gate, where a row goes, or a share where rows are averaged by
    example. Products with parameters, or with what is made of a single one, are layers.
    """
    found: list[_Order] = []
    following = node.next_functions
    if any(_is_parameter(following[number][0]) for _, number in operands):
        return None
    for place, (saved, _) in enumerate(operands):
        matrix = getattr(node, saved)
        if matrix is None:
            continue
        summed = -1 if place == 0 else -2
        # With as many matrices as examples, each has its own.
        apart = matrix.dim() > 2 and matrix.shape[0] % size == 0
        if apart or matrix.shape[summed] % size:
            continue
        if matrix.untyped_storage().data_ptr() in weights():
            continue
        order = _order_of_matrix(matrix, size)
        found.append((place, order, _content(matrix != 0) if order == _NEITHER else None))
    return found or None


def _is_parameter(node: Node | None) -> bool:
    """Whether it's a leaf, or one in another shape: then the product is a layer's, of constants."""
    while node is not None and node.name() in _RESHAPES:
        node = node.next_functions[0][0]
    return node is not None and not node.next_functions


def _order_of_matrix(matrix: Tensor, size: int) -> int:
    """The order in which no two examples' rows and columns meet in a number other than zero."""
    rows, columns = (extent // size for extent in matrix.shape[-2:])
    if not matrix.numel():
        return _BOTH
    if matrix.shape[-2] % size or matrix.shape[-1] % size:
        return _NEITHER
    order = _NEITHER
    # What is anywhere is mostly in the first rows, of which there are few.
    if not bool(matrix[..., :rows, columns:].any()):
        blocks = matrix.unflatten(-1, (size, columns)).unflatten(-3, (size, rows))
        own = torch.eye(size, dtype=torch.bool, device=matrix.device)[:, None, :, None]
        order |= 0 if bool(blocks.masked_fill(own, 0).any()) else _BY_EXAMPLE
    if not bool(matrix[..., 0, 1:size].any()):
        blocks = matrix.unflatten(-1, (columns, size)).unflatten(-3, (rows, size))
        own = torch.eye(size, dtype=torch.bool, device=matrix.device)[None, :, None, :]
        order |= 0 if bool(blocks.masked_fill(own, 0).any()) else _BY_STEP
    return order


def _slice(node: Any, size: int) -> list[_Order] | None:
    if _axis(node) != 0:
        return None
    rows = node._saved_self_sym_sizes[0]
    taken = slice(node._saved_start, node._saved_end, node._saved_step).indices(rows)
    if taken == (0, rows, 1):
        return None
    (first, stop, step), each = taken, rows // size
    whole = each and not rows % size and not first % each and stop - first == each
    if whole and step == 1:
        return [(0, _BY_EXAMPLE, None)]
    return [(0, _NEITHER, (*taken, rows))]


def _split(node: Any, size: int) -> list[_Order] | None:
    if _axis(node) != 0:
        return None
    rows = node._saved_self_sym_sizes[0]
    lengths = getattr(node, "_saved_split_sizes", None)
    if lengths is None:
        each = node._saved_split_size
        lengths = [min(each, rows - first) for first in range(0, rows, each)]
    if not rows % size and list(lengths) == [rows // size] * size:
        return [(0, _BY_EXAMPLE, None)]
    return [(0, _NEITHER, tuple(lengths))]


def _segments(node: Any, size: int) -> list[_Order]:
    lengths = node._saved_lengths
    if lengths is not None and len(lengths) == size and bool((lengths == lengths[0]).all()):
        return [(0, _BY_EXAMPLE, None)]
    return [(0, _NEITHER, _content(node._saved_offsets if lengths is None else lengths))]


def _joined(node: Any, size: int) -> list[_Order] | None:
    """Rows that were taken one by one and are put together again: in another order, or not."""
    places = [_place(before, number) for before, number in node.next_functions]
    if len(places) < 2 or None in places:
        return None
    in_order = all(a < b for a, b in itertools.pairwise(places))  # type: ignore[operator]
    return [(0, _BOTH, None)] if in_order else [(0, _NEITHER, tuple(places))]


def _place(node: Any, number: int) -> int | None:
    """The place along the first axis that a part was taken from, by itself; None: from none."""
    place = None
    for _ in range(_FARTHEST):
        name = "" if node is None else node.name()
        if name == "SelectBackward0" and _axis(node) == 0:
            index = _signed(node._saved_index)
            place = index if index >= 0 else index + node._saved_self_sym_sizes[0]
        elif name in ("UnbindBackward0", "SplitBackward0", "SplitWithSizesBackward0"):
            place = number if _axis(node) == 0 else place
        elif name == "SliceBackward0" and _axis(node) == 0:
            place = node._saved_start or place or 0
        further = [
            edge
            for edge in (() if node is None else node.next_functions)
            if edge[0] is not None and not _is_parameter(edge[0])
        ]
        if len(further) != 1:
            break
        node, number = further[0]
    return place


def _written(node: Any, size: int) -> list[_Order] | None:
    """Rows that are written into another tensor one by one: where to isn't told."""
    if len(node.next_functions) < 2 or _place(*node.next_functions[1]) is None:
        return None
    return [(0, _NEITHER, UNTOLD)]


def _turned(node: Any, size: int) -> list[_Order] | None:
    axes = tuple(map(_signed, node._saved_dims))
    # Without axes a roll is of all numbers.
    if axes and not {0, -len(node._input_metadata[0].shape)} & {*axes}:
        return None
    return [(0, _NEITHER, (axes, tuple(getattr(node, "_saved_shifts", ()))))]


def _repeated(node: Any, size: int) -> list[_Order] | None:
    repeats = tuple(node._saved_repeats)
    return [(0, _NEITHER, repeats)] if repeats and repeats[0] > 1 else None


def _looked_up(node: Any, size: int) -> list[_Order] | None:
    """Rows of what isn't a table of parameters."""
    if _is_parameter(node.next_functions[0][0]):
        return None
    index = node._saved_indices
    if node.name() == "EmbeddingBackward0":
        return [_by_index(0, index.flatten(), node._saved_weight_sym_argsize_0, size)]
    return [(0, _NEITHER, (_content(index), _content(node._saved_offsets)))]


def _sparse(node: Any, size: int) -> list[_Order] | None:
    matrix = node._saved_mat1
    if node.next_functions[1][0] is not None or _is_parameter(node.next_functions[2][0]):
        return None
    coordinates = matrix._indices() if matrix.layout == torch.sparse_coo else matrix.col_indices()
    return [(0, _NEITHER, _content(coordinates))]


_OTHERS: dict[str, Callable[[Any, int], list[_Order] | None]] = {
    "SliceBackward0": _slice,
    "SplitBackward0": _split,
    "SplitWithSizesBackward0": _split,
    "SegmentReduceBackward0": _segments,
    "StackBackward0": _joined,
    "CatBackward0": _joined,
    "torch::autograd::CopySlices": _written,
    "FlipBackward0": _turned,
    "RollBackward0": _turned,
    "RepeatBackward0": _repeated,
    "EmbeddingBackward0": _looked_up,
    "EmbeddingBagBackward0": _looked_up,
    "SparseAddmmBackward0": _sparse,
    "ToPaddedTensorBackward0": lambda node, size: [(0, _NEITHER, UNTOLD)],
}

_MOVES = frozenset((*_BY_INDEX, *_PRODUCTS, *_OTHERS))
