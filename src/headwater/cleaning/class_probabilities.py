"""What a classifier's output says of its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from headwater.tasks import Autocast, LossTask

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.tasks import Task

_SUMS_TO_ONE = 1e-3


def log_probabilities(task: Task, output: Float[Tensor, "B ..."]) -> Float[Tensor, "B K"] | None:
    """The classes' log-probabilities, in float32 at least; None without a row per example.

    Logits, log-probabilities and probabilities are told apart by the loss where it is one of
    PyTorch's own, and by whether rows add up to 1 where it isn't. One number per example is about
    class 1 against class 0.

    Args:
        task: whose loss the output is for.
        output: what the model returned.
    """
    while isinstance(task, Autocast):
        task = task.task
    loss = task.loss_fn if isinstance(task, LossTask) else None
    output = output.detach().to(torch.promote_types(output.dtype, torch.float32))
    smallest = torch.finfo(output.dtype).tiny
    if output.dim() == 1 or output.shape[1:] == (1,):
        one = output.reshape(-1)
        if isinstance(loss, nn.BCELoss):
            return torch.stack([1 - one, one], dim=1).clamp_min(smallest).log()
        return torch.stack([torch.zeros_like(one), one], dim=1).log_softmax(dim=1)
    if output.dim() != 2:
        return None
    if isinstance(loss, nn.NLLLoss):
        return output
    sums = output.sum(dim=1)
    if bool((output >= 0).all()) and bool(((sums - 1).abs() < _SUMS_TO_ONE).all()):
        return output.clamp_min(smallest).log()
    return output.log_softmax(dim=1)
