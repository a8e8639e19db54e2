"""Which parts of a batch have an entry per example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from headwater.tasks.batch import entries, leaves, map_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator


class Columns:
    """The parts of batches of one kind that have an entry per example, as far as was seen.

    What is common to all examples, as the descriptions of labels, may by chance be as long as a
    batch has examples, the last one above all. In another batch it isn't, and then it never was.
    """

    def __init__(self) -> None:
        self._common: set[tuple[object, ...]] = set()

    def of(self, batch: Any, size: int) -> list[bool]:
        """For each leaf of a batch of `size` examples, whether it has an entry for each."""
        parts = list(leaves(batch))
        found = []
        for place, leaf in enumerate(parts):
            kind = (len(parts), place, *_kind(leaf))
            if entries(leaf) != size:
                self._common.add(kind)
            found.append(kind not in self._common)
        return found

    def cut(self, batch: Any, start: int, stop: int, *, size: int) -> Any:
        """The examples from `start` to before `stop` of a batch of `size`, as a batch."""
        are_columns: Iterator[bool] = iter(self.of(batch, size))
        return map_leaves(batch, lambda leaf: leaf[start:stop] if next(are_columns) else leaf)


def _kind(leaf: Any) -> tuple[object, ...]:
    return (leaf.dtype, leaf.dim()) if isinstance(leaf, Tensor) else (type(leaf),)
