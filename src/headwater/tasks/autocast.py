"""Losses computed in mixed precision, as the model was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwater.errors import InputError
from headwater.tasks.loss import LossTask, declared_reduction
from headwater.tasks.task import LossSum, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import nn

_REDUCED = (torch.bfloat16, torch.float16)


class Autocast(Task):
    """Another task's losses, forward and backward pass under `torch.autocast`.

    Weights stay as they are; matrix products and convolutions are computed in `dtype`. What is
    captured of them is added up in float32 at least, so scores come in float32, with the rounding
    of the passes. On hardware that multiplies bfloat16 faster than float32, gradients of examples
    are written out in bfloat16, rounded once as autograd's own are. Faster only there.

    Args:
        loss: a task, or `(predictions, targets) -> losses`, one per example; then queries are
            batches `(inputs..., targets)` as the loader yields them.
        dtype: torch.bfloat16 or torch.float16. No gradient scaler takes part: per-example
            gradients in float16 may underflow, and bfloat16's can't.

    Raises:
        InputError: an argument is of the wrong kind.
        LossError: `loss.reduction` says that it returns no per-example losses.
    """

    def __init__(
        self, loss: Task | Callable[..., Any], dtype: torch.dtype = torch.bfloat16
    ) -> None:
        if dtype not in _REDUCED:
            raise InputError(f"dtype is {dtype}; autocast takes torch.bfloat16 or torch.float16")
        if not isinstance(loss, Task) and (isinstance(loss, type) or not callable(loss)):
            raise InputError(
                f"loss is {loss!r}; expected a headwater.Task, or a function "
                f"(predictions, targets) -> losses"
            )
        self.task = (
            loss
            if isinstance(loss, Task)
            else LossTask(loss, reduction=declared_reduction(loss, batched=False))
        )
        self.dtype = dtype

    @property
    def rounds_to(self) -> torch.dtype:
        return self.dtype

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        with self._autocast(model):
            return self.task.losses(model, batch)

    def summed(self, model: nn.Module, batch: Any) -> LossSum:
        with self._autocast(model):
            return self.task.summed(model, batch)

    def collate(
        self, model: nn.Module, examples: list[Any], collate_fn: Callable[[list[Any]], Any] | None
    ) -> Any:
        return self.task.collate(model, examples, collate_fn)

    def stacks_rows(self) -> bool:
        return self.task.stacks_rows()

    def examples(self, batch: Any, start: int, stop: int, *, size: int) -> Any:
        return self.task.examples(batch, start, stop, size=size)

    def size(self, batch: Any) -> int | None:
        return self.task.size(batch)

    def _autocast(self, model: nn.Module) -> torch.autocast:
        # Without the cache: it would hold weights of one checkpoint for the next one's pass.
        device = next(model.parameters()).device.type
        return torch.autocast(device, dtype=self.dtype, cache_enabled=False)
