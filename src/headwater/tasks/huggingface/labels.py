"""The labels of a batch: finding them, and refusing examples that have none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from headwater.errors import BatchError
from headwater.tasks.batch import describe
from headwater.tasks.huggingface.model_call import LABELS

if TYPE_CHECKING:
    from jaxtyping import Int

# What collators of transformers put where a token has no label.
IGNORE_INDEX = -100


def labels_of(batch: Any, name: str) -> Tensor:
    """The batch's labels.

    Raises:
        BatchError: there are none under that name.
    """
    labels = batch.get(name) if isinstance(batch, Mapping) else None
    if labels is None:
        others = [key for key in batch if key in LABELS] if isinstance(batch, Mapping) else []
        hint = (
            f"if {others[0]!r} holds them, say so to the task: labels={others[0]!r}"
            if others
            else "a query needs labels too, since its loss is what is asked about"
        )
        raise BatchError(f"{describe(batch)} has no labels under {name!r}; {hint}")
    if not isinstance(labels, Tensor):
        raise BatchError(
            f"the labels under {name!r} are a {type(labels).__name__}; expected a tensor with a "
            f"row per example: pass a collate_fn that makes one"
        )
    return labels


def refuse_unlabelled(targets: Int[Tensor, "B ..."], ignore_index: int, *, remedy: str) -> None:
    """Raises BatchError for an example of which no label counts.

    It would have no loss, and a score of zero that looks like an answer.

    Args:
        targets: the labels that a loss is taken of.
        ignore_index: the label that doesn't count.
        remedy: what to do about it.
    """
    rows = targets.reshape(targets.shape[0], -1)
    empty = (rows == ignore_index).all(dim=1).nonzero().flatten().tolist()
    if empty:
        others = "" if len(empty) == 1 else f" (as have {len(empty) - 1} others)"
        raise BatchError(
            f"example {empty[0]} of a batch of {len(rows)} has no label that counts{others}: all "
            f"{rows.shape[1]} of them are {ignore_index}, so it has no loss and no gradient. "
            f"{remedy}"
        )
