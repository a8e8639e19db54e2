"""From rows of a dataset, as dicts, to a batch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from headwater.errors import BatchError
from headwater.tasks.huggingface.model_call import HOW_TO_TOKENISE, LABELS, is_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


def collate_rows(
    model: nn.Module,
    rows: list[Any],
    collate_fn: Callable[[list[Any]], Any] | None,
    labels: str,
) -> Any:
    """The batch of some rows.

    A collator of transformers gets the columns that the model reads, as from its `Trainer`, for it
    fails on others; one of the user's own gets whole rows. Without any, columns are stacked.

    Raises:
        BatchError: rows hold only texts, or differ in length and there is no collator.
    """
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        return (default_collate if collate_fn is None else collate_fn)(rows)
    if collate_fn is not None and not _is_of_transformers(collate_fn):
        return collate_fn(rows)
    kept = _columns(model, rows[0], labels)
    rows = [{key: row[key] for key in kept if key in row} for row in rows]
    return _stacked(rows) if collate_fn is None else collate_fn(rows)


def _is_of_transformers(collate_fn: Any) -> bool:
    # A function says its module itself, an object's class does.
    module = getattr(collate_fn, "__module__", None) or type(collate_fn).__module__
    return str(module).partition(".")[0] == "transformers"


def _columns(model: nn.Module, row: Mapping[str, Any], labels: str) -> list[str]:
    """The columns that the model's forward pass names, and labels; all but texts if none is."""
    base = getattr(model, "get_base_model", None)
    named = set(inspect.signature((base() if callable(base) else model).forward).parameters)
    label_names = {*LABELS, labels}
    read = [key for key in row if key in named and key not in label_names]
    if not read:
        read = [key for key in row if key not in label_names and not is_text(row[key])]
    if not read:
        texts = ", ".join(repr(key) for key in row if is_text(row[key]))
        raise BatchError(
            f"the dataset's rows have {texts or 'no column'} and nothing that the model reads: the "
            f"dataset isn't tokenised; {HOW_TO_TOKENISE}"
        )
    chosen = {*read, *(key for key in row if key in label_names)}
    return [key for key in row if key in chosen]


def _stacked(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: _column(key, [row[key] for row in rows]) for key in rows[0]}


def _column(key: str, values: list[Any]) -> Any:
    if not isinstance(values[0], (Tensor, list, tuple)):
        return default_collate(values)
    tensors = [value if isinstance(value, Tensor) else torch.tensor(value) for value in values]
    shapes = list(dict.fromkeys(tuple(tensor.shape) for tensor in tensors))
    if len(shapes) > 1:
        raise BatchError(
            f"column {key!r} has rows of shapes {shapes[0]} and {shapes[1]}, which don't stack to "
            f"a batch; pass a collator that pads them, for example "
            f"collate_fn=transformers.DataCollatorWithPadding(tokenizer)"
        )
    return torch.stack(tensors)
