"""A task whose gradients are those of labels drawn from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwater.curvature.outputs import outputs_of
from headwater.tasks import Task

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import nn

    from headwater.curvature.likelihood import Likelihood


class SampledTask(Task):
    """Losses that are linear in the model's output, with random gradients there.

    Batches are those of `numbered`: the draws belong to an example's place in the training data,
    so that they are the same in whatever batch, and in every pass.

    Args:
        task: the task whose outputs they are.
        likelihood: draws the output gradients.
        seed: of the draws.
    """

    def __init__(self, task: Task, likelihood: Likelihood, seed: int) -> None:
        self._task = task
        self._likelihood = likelihood
        self.seed = seed

    def numbered(self, batch: Any, start: int, size: int, device: torch.device) -> dict[str, Any]:
        """A batch of the task's whose first example has place `start`, as this task reads it."""
        return {"batch": batch, "index": torch.arange(start, start + size, device=device)}

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        inner, index = batch["batch"], batch["index"]
        outputs = outputs_of(self._task, model, inner)
        drawn = self._likelihood.draw(outputs.detach(), inner, index, self.seed)
        return (drawn * outputs).reshape(len(outputs), -1).sum(dim=1)

    def examples(self, batch: Any, start: int, stop: int, *, size: int) -> Any:
        inner = self._task.examples(batch["batch"], start, stop, size=size)
        return {"batch": inner, "index": batch["index"][start:stop]}

    def size(self, batch: Any) -> int | None:
        return len(batch["index"])
