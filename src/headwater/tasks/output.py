"""The model's own output as what is differentiated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from headwater.errors import LossError
from headwater.tasks.loss import split_batch
from headwater.tasks.task import Task

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import nn


class ModelOutput(Task):
    """`model(*batch[:-1])`, one number per example; the last part of the batch is not read."""

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        inputs, _ = split_batch(batch)
        output = model(*inputs)
        if isinstance(output, Tensor) and output.dim() == 2 and output.shape[1] == 1:
            output = output[:, 0]
        if not isinstance(output, Tensor) or output.dim() != 1:
            came = (
                f"shape {tuple(output.shape)}"
                if isinstance(output, Tensor)
                else type(output).__name__
            )
            raise LossError(
                f"without a loss_fn or without targets the model's output itself is differentiated "
                f"and must be one number per example, shape (B,) or (B, 1); it is {came}. "
                f"Pass loss_fn and targets, or a model that returns the number in question"
            )
        size = self.size(batch)
        if size is not None and len(inputs) == 1 and len(output) != size:
            raise LossError(
                f"without a loss_fn or without targets the model's output itself is differentiated "
                f"and must be one number per example; there are {len(output)} for a batch of "
                f"shape {tuple(inputs[0].shape)}, which is {size} examples. A single one is a "
                f"batch of one, inputs[None]; pass targets, too, if there is a loss_fn"
            )
        return output


# One for all: what a question settles of its queries is remembered by their task.
MODEL_OUTPUT = ModelOutput()
