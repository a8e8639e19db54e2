"""Queries as data that a pass reads batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from headwater.engine import TrainingData
from headwater.estimators.streamed import size_of_queries

if TYPE_CHECKING:
    from headwater.tasks import Task

# Queries that go through the model at a time.
QUERIES = 256


def query_batches(task: Task, batch: Any) -> tuple[TrainingData, int]:
    """The queries in batches of at most `QUERIES`, and how many they are.

    Raises:
        BatchError: their number can't be told, or is zero.
    """
    size = size_of_queries(task, batch)
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
