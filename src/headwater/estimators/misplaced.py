"""Arguments of a kind that is easily mistaken for the one that is meant."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from headwater.errors import InputError
from headwater.tasks.batch import describe


def refuse_misplaced_loss(loss_fn: Any) -> None:
    """Raises InputError for a class in the place of a loss, or what can't be called."""
    if isinstance(loss_fn, type):
        raise InputError(
            f"loss_fn is the class {loss_fn.__name__} itself; expected an instance of it: "
            f"{loss_fn.__name__}(reduction='none'), with parentheses"
        )
    if loss_fn is not None and not callable(loss_fn):
        raise InputError(f"loss_fn is a {type(loss_fn).__name__}; expected a function or Module")


def refuse_misplaced_tensors(dataset: Any, *, name: str, task_given: bool) -> None:
    """Raises InputError for tensors in the place of a dataset.

    Args:
        dataset: what was given.
        name: the argument's.
        task_given: whether a task of the user's own reads the examples, of whatever kind.
    """
    if isinstance(dataset, Tensor) and not task_given:
        raise InputError(
            f"{name} is {describe(dataset)}, without targets; expected examples that are tuples "
            f"(inputs..., targets): torch.utils.data.TensorDataset(inputs, targets)"
        )
    if not isinstance(dataset, tuple) and (task_given or not isinstance(dataset, list)):
        return
    columns = [part for part in dataset if isinstance(part, Tensor) and part.dim()]
    if len(columns) == len(dataset) > 1 and len({len(part) for part in columns}) == 1:
        raise InputError(
            f"{name} is {describe(dataset)} tensors of {len(columns[0])} entries each, which "
            f"would be {len(dataset)} examples; if they are columns, pass "
            f"torch.utils.data.TensorDataset(X, y)"
            f"{'; if they are examples, pass them as a list' if task_given else ''}"
        )


def refuse_odd_k(k: Any) -> None:
    """Raises InputError for what is neither a number of training examples nor None."""
    if k is not None and (not isinstance(k, int) or isinstance(k, bool) or k < 0):
        raise InputError(f"k is {k!r}; expected an int of at least 0, or None for all scores")


def refuse_misplaced_queries(inputs: Any) -> None:
    """Raises InputError for a loader or dataset in the place of queries."""
    if isinstance(inputs, (DataLoader, Dataset)):
        raise InputError(
            f"inputs is a {type(inputs).__name__}; expected the queries themselves, as the model "
            f"takes them: call once for every batch of a loader, with the batch's inputs and "
            f"targets"
        )
