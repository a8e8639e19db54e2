"""Arguments of a kind that is easily mistaken for the one that is meant."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from headwater.capture import eager
from headwater.errors import BatchError, InputError
from headwater.estimators.store_place import names_store
from headwater.tasks.batch import array_in, describe


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


def refuse_misplaced_mapping(dataset: Any) -> None:
    """Raises InputError for a dict of columns, or of splits, in the place of a dataset."""
    if isinstance(dataset, Mapping) and all(isinstance(key, str) for key in dataset):
        columns = [key for key, part in dataset.items() if isinstance(part, (Tensor, list))]
        expected = (
            "a Dataset of examples: datasets.Dataset.from_dict(...), or a list of dicts"
            if columns
            else f"one of its entries, a Dataset: {describe(dataset)}"
        )
        raise InputError(f"influence_src_dataset is {describe(dataset)}; expected {expected}")


def refuse_misplaced_collator(collate_fn: Any, dataset: Any) -> None:
    """Raises InputError for a collator that can't be called, or beside a loader that has one."""
    if collate_fn is None:
        return
    if isinstance(collate_fn, type) or not callable(collate_fn):
        came = collate_fn.__name__ if isinstance(collate_fn, type) else type(collate_fn).__name__
        raise InputError(
            f"collate_fn is {'the class ' if isinstance(collate_fn, type) else 'a '}{came}; "
            f"expected a function, or an object such as "
            f"transformers.DataCollatorWithPadding(tokenizer), that makes a batch of a list of "
            f"examples"
        )
    if isinstance(dataset, DataLoader):
        raise InputError(
            "collate_fn is given beside a DataLoader, which makes batches its own way; give "
            "collate_fn to the DataLoader, or pass the loader's dataset"
        )


def refuse_odd_k(k: Any) -> None:
    """Raises InputError for what is neither a number of training examples nor None."""
    if k is not None and (not isinstance(k, int) or isinstance(k, bool) or k < 0):
        raise InputError(f"k is {k!r}; expected an int of at least 0, or None for all scores")


def refuse_odd_question(inputs: Any, targets: Any, k: Any, *, task_given: bool) -> None:
    """Raises InputError for arguments of a question that don't go together."""
    refuse_odd_k(k)
    if inputs is None and (targets is not None or k is not None):
        given = "targets" if targets is not None else "k"
        raise InputError(
            f"{given} is given without inputs; inputs=None asks for self-influence, a number "
            f"per training example, which has neither targets nor k"
        )
    if task_given and targets is not None:
        raise InputError(
            "targets is given beside a task; a task reads one whole batch: pass it as inputs"
        )


def refuse_misplaced_queries(
    inputs: tuple[Any, ...], targets: Any, model: nn.Module, *, task_given: bool
) -> None:
    """Raises InputError for what can't be queries.

    That is a loader or dataset and, unless a task of the user's own reads the queries, arrays and
    more inputs than the model takes.

    Args:
        inputs: the model's.
        targets: the queries' targets, if there are any.
        model: the user's.
        task_given: whether a task of the user's own reads the queries, of whatever kind.
    """
    for part in inputs:
        if isinstance(part, (DataLoader, Dataset)):
            raise InputError(
                f"inputs is a {type(part).__name__}; expected the queries themselves, as the model "
                f"takes them: call once for every batch of a loader, with the batch's inputs and "
                f"targets"
            )
    if task_given:
        return
    for place, part in enumerate(inputs):
        refuse_arrays(part, "inputs" if len(inputs) == 1 else f"inputs[{place}]")
    refuse_arrays(targets, "targets")
    if targets is None and len(inputs) > 1:
        _refuse_targets_among(inputs, eager(model))


def refuse_arrays(batch: Any, name: str) -> None:
    """Raises BatchError for arrays of numpy's, of which no batch is cut or moved to a device.

    Args:
        batch: the argument.
        name: what to call it.
    """
    found = array_in(batch)
    if found is not None:
        raise BatchError(
            f"{name} {'is' if found is batch else 'has'} {describe(found)} of {found.dtype}; "
            f"expected a tensor: pass torch.as_tensor(...) of it"
        )


def _refuse_targets_among(inputs: tuple[Any, ...], model: nn.Module) -> None:
    """Raises InputError for more inputs than the model's `forward` takes: targets, most likely."""
    try:
        taken = inspect.signature(model.forward)
    except (TypeError, ValueError):
        # Not every callable says what it takes; then the model's own error has to do.
        return
    try:
        taken.bind(*inputs)
    except TypeError:
        raise InputError(
            f"inputs is {len(inputs)} parts, which would all go into the model, but "
            f"{type(model).__name__}.forward takes ({', '.join(taken.parameters)}); if the last "
            f"part is the targets, pass influence(inputs, targets); if the parts are single "
            f"queries, stack them"
        ) from None


def refuse_stored(dataset: Any, name: str) -> None:
    """Raises InputError for a store in the place of data, where a store can't answer."""
    if names_store(dataset):
        raise InputError(
            f"influence_src_dataset is a {type(dataset).__name__}, which would stand for a store, "
            f"but {name} isn't answered by stores; pass the dataset itself"
        )


def refuse_no_examples(dataset: Any, count: int | None) -> None:
    """Raises InputError for data without a training example, to which there is no score.

    Not for TracIn's own estimators, which have always answered with no columns.

    Args:
        dataset: what was given.
        count: the number of training examples, where it is known beforehand.
    """
    if count == 0 and not names_store(dataset):
        raise InputError(
            f"influence_src_dataset is a {type(dataset).__name__} of 0 examples; expected at least "
            f"one: look at what it was cut or filtered by"
        )
