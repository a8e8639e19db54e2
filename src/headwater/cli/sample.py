"""Training examples to look at, where not all are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.errors import InputError

if TYPE_CHECKING:
    from headwater.estimators import TracInCPBase


def count_of(estimator: TracInCPBase) -> int:
    """How many training examples there are.

    Raises:
        InputError: that isn't known beforehand, or there is none.
    """
    count = estimator._data.count
    if not count:
        what = "a stream, of which no examples can be picked" if count is None else "empty"
        raise InputError(f"train_dataset() is {what}; expected a Dataset with __len__")
    return count


def spread(estimator: TracInCPBase, size: int) -> list[int]:
    """Places at even distances, the first and the last among them."""
    count = count_of(estimator)
    return sorted({i * (count - 1) // max(1, size - 1) for i in range(size)})
