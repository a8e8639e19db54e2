"""Arguments that say several checkpoints, where an estimator has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def refuse_several_checkpoints(
    name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> None:
    """Raises InputError for `checkpoints`, by that name or in the place that they mostly have.

    Args:
        name: the estimator's.
        arguments: of its constructor, by position: after the model and the data a loss.
        keywords: likewise, by keyword.
    """
    third = arguments[2] if len(arguments) > 2 else None
    twice = len(arguments) > 2 and "loss_fn" in keywords
    if "checkpoints" in keywords:
        came = "checkpoints is given"
    elif twice or not (third is None or callable(third)):
        came = f"the third argument is a {type(third).__name__}"
    else:
        return
    raise InputError(
        f"{came}, but {name} is about the end of training and takes one checkpoint, not several: "
        f"{name}(model, dataset, loss_fn, checkpoint=...), a path or a state dict; without it the "
        f"model's present weights count"
    )
