"""Queries as data that a pass reads batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import DataLoader

from headwater.engine import TrainingData
from headwater.estimators.streamed import size_of_queries
from headwater.tasks.batch import map_leaves

if TYPE_CHECKING:
    from headwater.tasks import Task

# Queries that go through the model at a time.
QUERIES = 256


def rows_of(queries: Any) -> list[Any] | None:
    """The rows of queries that are given as a dataset has them; None for what is a batch already.

    Rows are dicts, in a list or in a dataset with a length, such as Hugging Face's.
    """
    if isinstance(queries, (Mapping, tuple, str, Tensor)) or not hasattr(queries, "__getitem__"):
        return None
    count = len(queries) if isinstance(queries, Sized) else 0
    if not count or not isinstance(queries[0], Mapping):
        return None
    return [queries[place] for place in range(count)]


def query_batches(task: Task, batch: Any) -> tuple[TrainingData, int]:
    """The queries in batches of at most `QUERIES`, and how many they are.

    Raises:
        BatchError: their number can't be told, or is zero.
    """
    size = size_of_queries(task, batch)
    batch = map_leaves(batch, lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf)
    starts = range(0, size, QUERIES)
    pieces = (
        [batch]
        if size <= QUERIES
        else [task.examples(batch, i, min(i + QUERIES, size), size=size) for i in starts]
    )
    # Each piece is a batch already, for `DataLoader` to hand on as it is.
    loader: DataLoader[Any] = DataLoader(pieces, batch_size=None, collate_fn=_as_it_is)  # type: ignore[arg-type]
    return TrainingData(loader, "auto"), size


def _as_it_is(batch: Any) -> Any:
    return batch
