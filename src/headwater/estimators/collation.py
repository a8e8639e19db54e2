"""How an estimator makes a batch of a dataset's examples."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torch.utils.data import default_collate

from headwater.capture import eager

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from headwater.tasks import Task


def collation(
    task: Task, model: nn.Module, collate_fn: Callable[[list[Any]], Any] | None
) -> Callable[[list[Any]], Any]:
    """The task's way, for the model; `default_collate` itself where it does nothing else.

    By that a dataset of tensors is known to need no fetching of single rows.
    """
    if collate_fn is None and task.stacks_rows():
        return default_collate
    # No lambda: an estimator can be pickled.
    return partial(_collated, task, model, collate_fn)


def _collated(
    task: Task,
    model: nn.Module,
    collate_fn: Callable[[list[Any]], Any] | None,
    examples: list[Any],
) -> Any:
    return task.collate(eager(model), examples, collate_fn)
