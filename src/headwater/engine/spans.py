"""How training batches are grouped between passes over the checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from torch import Tensor

from headwater.errors import InputError
from headwater.tasks.batch import leading_size, leaves

Numbered: TypeAlias = tuple[int, Any]
"""A batch with the index of its first example."""

Span: TypeAlias = Callable[[], Iterable[Numbered]]
"""Batches that can be gone through once per checkpoint."""


def after(head: Numbered, batches: Iterator[Numbered]) -> Iterator[Numbered]:
    """A batch and those that follow; `itertools.chain` would hold the first one to the end."""
    first = [head]
    del head
    yield first.pop()
    yield from batches


def everything(
    begun: Iterable[Numbered], again: Callable[[], Iterable[Numbered]]
) -> Iterator[Span]:
    """All batches as one span: first those of a pass that has begun, then read again each time."""
    first: list[Iterable[Numbered]] = [begun]
    yield lambda: first.pop() if first else again()


def spans_within(begun: Iterable[Numbered], nbytes: int, example_bytes: int) -> Iterator[Span]:
    """Spans whose batches, and `example_bytes` per example, fit `nbytes`; at least a batch each."""
    batches = iter(begun)
    for head in batches:
        span = [head]
        held = _nbytes(head[1], example_bytes)
        # The largest batch so far stands for the next, which is unknown before it is read.
        largest = held
        while held + largest <= nbytes:
            following = next(batches, None)
            if following is None:
                break
            span.append(following)
            size = _nbytes(following[1], example_bytes)
            held, largest = held + size, max(largest, size)
        yield lambda span=span: span  # type: ignore[misc]


def _nbytes(batch: Any, example_bytes: int) -> int:
    tensors = [leaf for leaf in leaves(batch) if isinstance(leaf, Tensor)]
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return held + (leading_size(batch) or 1) * example_bytes


def changed_data(start: int) -> InputError:
    """What to raise where the batch at an example isn't what it was in an earlier pass."""
    return InputError(
        f"the training data changed between passes: the batch at example {start} has another "
        f"size, or isn't there, at a later checkpoint; a dataset must yield the same examples "
        f"each time it is read"
    )
