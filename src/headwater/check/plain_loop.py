"""Influence as a plain loop over examples: slow, and obviously right.

It calls the model and the loss for one example at a time, and autograd's `backward`. No rule, no
form and no batch of the library has a part in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headwater.distributed import own_part
from headwater.tasks import LossTask, ModelOutput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor, nn

    from headwater.tasks import Task


def plain_loss(task: Task, model: nn.Module, single: Any) -> Float[Tensor, ""]:
    """The loss of a batch of one, as the user's own code computes it."""
    if isinstance(task, LossTask):
        loss: Tensor = task.loss_fn(model(*single[:-1]), single[-1])
        return loss.sum()
    if isinstance(task, ModelOutput):
        output: Tensor = model(*single[:-1])
        return output.sum()
    return task.losses(model, single).sum()


def plain_gradient(
    task: Task, model: nn.Module, single: Any, names: Sequence[str]
) -> dict[str, Tensor]:
    """By name of the parameters, the gradient of one example's loss, in float64, on the CPU.

    Of a sharded model FSDP reduces it as in training, and this rank's part of it is what is found:
    all ranks have the same example, whose gradient is the mean of theirs.

    Args:
        task: what is differentiated.
        model: in eval mode; the `.grad` of its parameters is lost.
        single: a batch of one.
        names: the parameters that count.
    """
    parameters = dict(model.named_parameters())
    for name in names:
        parameters[name].requires_grad_(True)
    model.zero_grad(set_to_none=True)
    with torch.enable_grad():
        loss = plain_loss(task, model, single)
        if loss.requires_grad:
            loss.backward()
    found = {}
    for name in names:
        gradient = parameters[name].grad
        if gradient is None:
            gradient = torch.zeros_like(parameters[name])
        found[name] = own_part(gradient).to_dense().cpu().double()
    model.zero_grad(set_to_none=True)
    return found


def plain_scores(
    queries: Sequence[Mapping[str, Tensor]],
    training: Iterable[Mapping[str, Tensor]],
    rates: Mapping[str, float],
) -> Float[Tensor, "Q N"]:
    """Each query's products with each training example, every parameter's times its rate.

    Args:
        queries: their gradients.
        training: those of training examples, which need not be in memory at once.
        rates: by parameter, the checkpoint's learning rate.
    """

    def score(q: Mapping[str, Tensor], n: Mapping[str, Tensor]) -> float:
        return sum(rate * float((q[name] * n[name]).sum()) for name, rate in rates.items())

    columns = [[score(q, n) for q in queries] for n in training]
    return torch.tensor(columns, dtype=torch.float64).mT
