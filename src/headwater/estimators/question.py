"""What an estimator is asked: scores with queries, with their sum, or self-influence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headwater.estimators.streamed import size_of_queries

if TYPE_CHECKING:
    from headwater.tasks import Task


@dataclass(frozen=True)
class Question:
    """Scores with queries.

    Attributes:
        task: what is differentiated for a query.
        batch: the queries, as a batch that the task reads.
        size: how many they are, Q.
        summed: whether their sum is asked for, one row, in place of Q rows.
    """

    task: Task
    batch: Any
    size: int
    summed: bool = False

    @classmethod
    def of(cls, task: Task, batch: Any) -> Question:
        """The question of all scores with some queries.

        Raises:
            BatchError: their number can't be told, or is zero.
        """
        return cls(task, batch, size_of_queries(task, batch))

    @property
    def rows(self) -> int:
        """The number of rows that answer it."""
        return 1 if self.summed else self.size
