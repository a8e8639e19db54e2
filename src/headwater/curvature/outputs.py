"""The model's output, between the model and the loss that a task takes of it."""

from __future__ import annotations

import copy
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from headwater.errors import CurvatureError
from headwater.tasks import LossTask
from headwater.tasks.loss import split_batch
from headwater.tasks.model_output import returned, tensor_in

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import nn

    from headwater.tasks import Task


def outputs_of(task: Task, model: nn.Module, batch: Any) -> Float[Tensor, "B ..."]:
    """What the task's loss is taken of: the model's output, or the logits in it.

    Raises:
        CurvatureError: the task doesn't call the model exactly once.
    """
    if isinstance(task, LossTask):
        inputs, _ = split_batch(batch)
        return _tensor_in(model(*inputs))
    with returned(model) as found:
        task.losses(model, batch)
    return _tensor_in(_only(found, task))


@dataclass(frozen=True)
class Split:
    """A batch's losses as a function of outputs that are cut off from the model.

    Attributes:
        outputs: the model's, with the graph back to its parameters.
        cut: the same numbers, on which the losses depend and the parameters don't come in.
        losses: one per example.
    """

    outputs: Float[Tensor, "B ..."]
    cut: Float[Tensor, "B ..."]
    losses: Float[Tensor, " B"]


def split(task: Task, model: nn.Module, batch: Any) -> Split:
    """The batch's forward pass in two halves.

    Raises:
        CurvatureError: the task doesn't call the model exactly once.
    """
    found: list[tuple[Tensor, Tensor]] = []

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        outputs = _tensor_in(output)
        cut = outputs.detach().requires_grad_()
        found.append((outputs, cut))
        return _replaced(output, outputs, cut)

    handle = model.register_forward_hook(hook)
    try:
        losses = task.own_losses(model, batch)
    finally:
        handle.remove()
    outputs, cut = _only(found, task)
    return Split(outputs, cut, losses)


def _only(found: list[Any], task: Task) -> Any:
    if len(found) != 1:
        raise CurvatureError(
            f"{type(task).__name__} calls the model {len(found)} times for a batch; curvature of "
            f"the loss by the model's output needs a task that calls it once. "
            f"EKFAC(targets='true') goes without"
        )
    return found[0]


def _tensor_in(output: Any) -> Tensor:
    found = tensor_in(output)
    if found is not None:
        return found
    raise CurvatureError(
        f"the model returned a {type(output).__name__}; expected a tensor, or a mapping with "
        f"'logits', whose loss has a curvature. EKFAC(targets='true') goes without"
    )


def _replaced(output: Any, old: Tensor, new: Tensor) -> Any:
    if output is old:
        return new
    if isinstance(output, MutableMapping):
        # Of Hugging Face: entries are attributes too, which assigning to an entry keeps in step.
        changed = copy.copy(output)
        changed["logits"] = new
        return changed
    parts = [new if part is old else part for part in output]
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
