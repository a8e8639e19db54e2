"""Which training examples are meant: a mark for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headwater.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def marks(given: Any, name: str, *, shape: str) -> Tensor:
    """Marks as a tensor, of whatever they came as.

    Args:
        given: a tensor, an array, or a list, of True and False.
        name: of the argument, for messages.
        shape: the one that is expected: "(N,)", or "(Q, N)".

    Raises:
        InputError: they are something else.
    """
    expected = f"expected True or False for each training example, {shape}"
    try:
        found = torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} is a {type(given).__name__} ({error}); {expected}") from error
    if found.dtype != torch.bool or found.dim() != len(shape.strip("(,)").split(",")):
        raise InputError(
            f"{name} is {_kind(found)} of shape {tuple(found.shape)}; {expected}, which is bool"
        )
    return found


def _kind(found: Tensor) -> str:
    return str(found.dtype).removeprefix("torch.")
