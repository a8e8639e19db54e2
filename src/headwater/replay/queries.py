"""Queries: what is differentiated at the end of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headwater.errors import BatchError, InputError
from headwater.tasks.batch import describe

if TYPE_CHECKING:
    from headwater.replay.objective import Objective
    from headwater.tasks import Task


@dataclass(frozen=True)
class Query:
    """Queries as a batch.

    Attributes:
        task: what is differentiated for each.
        batch: all of them.
        size: the number of queries Q.
    """

    task: Task
    batch: Any
    size: int

    def first(self, count: int) -> Query:
        """The first so many queries."""
        if count == self.size:
            return self
        return Query(self.task, self.task.examples(self.batch, 0, count, size=self.size), count)


def query_of(
    objective: Objective, inputs: Any, targets: Any = None, *, unpack_inputs: bool = True
) -> Query:
    """The queries that the arguments of `influence` name.

    Raises:
        InputError: targets stand beside a task.
        BatchError: the number of queries can't be told, or is zero.
    """
    task = objective.query_task(with_targets=targets is not None)
    batch: Any
    if objective.loss_fn is None:
        if targets is not None:
            raise InputError(
                "targets is given beside a task; a task reads one whole batch: pass it as inputs"
            )
        batch = inputs
    elif unpack_inputs and isinstance(inputs, (tuple, list)):
        batch = (*inputs, targets)
    else:
        batch = (inputs, targets)
    size = task.size(batch)
    if not size:
        raise BatchError(
            f"there are {'0' if size == 0 else 'no countable'} queries in {describe(batch)}; "
            f"expected a batch of at least one: of a single query, inputs[None] and targets[None]"
        )
    return Query(task, batch, size)
