"""The check that an example's loss is its own: the same alone as among the others of its batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headwater.capture.borrowed import refuse_train_mode
from headwater.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor, nn

    from headwater.tasks import Task


def cuts_into_examples(
    task: Task, model: nn.Module, batch: Any, alone: Callable[[int], Any | None]
) -> bool:
    """Whether `task.examples` cuts the batch into examples whose losses are those in the batch.

    The first and the last example are looked at. False where the batch can't be cut that way but
    nothing speaks against the model: a batch of one, a batch axis that isn't the first.

    Args:
        batch: a batch of training examples.
        alone: the batch that the loader makes of one example, by its place in `batch`; None where
            that can't be known.

    Raises:
        ModelError: an example's loss depends on the rest of its batch, whichever way it is taken
            out of it.
    """
    # With gradients on, though none are taken: reentrant checkpointing warns without.
    losses = task.own_losses(model, batch).detach()
    refuse_train_mode(model)
    size = losses.shape[0]
    if size < 2:
        return False
    places = (0, size - 1)
    cut = [_loss(task, model, task.examples(batch, i, i + 1, size=size)) for i in places]
    rounded = task.rounds_to or losses.dtype
    if _agree(losses, places, cut, rounded):
        return True
    collated = [_loss(task, model, alone(i)) for i in places]
    if _agree(losses, places, collated, rounded) or (None in cut and None in collated):
        return False
    place, single = next(
        (place, value)
        for found in (cut, collated)
        for place, value in zip(places, found, strict=True)
        if value is not None and not _close(value, losses[place], losses, rounded)
    )
    raise ModelError(
        f"example {place} of a batch of {size} has the loss {losses[place].item():.6g} there and "
        f"{single.item():.6g} alone: the model mixes the examples of a batch, or its forward pass "
        f"is random, so no example has a gradient of its own. Normalise by LayerNorm or running "
        f"statistics, draw no random numbers in eval mode, or use batch_size=1; for batches whose "
        f"examples don't lie along the first axis pass a headwater.Task with `examples`"
    )


def _loss(task: Task, model: nn.Module, single: Any | None) -> Tensor | None:
    if single is None:
        return None
    try:
        losses = task.losses(model, single)
    except Exception:
        # Cut along the wrong axis, whatever the model says of it: this way tells nothing.
        return None
    return losses[0].detach() if losses.shape == (1,) else None


def _agree(
    losses: Tensor, places: tuple[int, ...], found: list[Tensor | None], rounded: torch.dtype
) -> bool:
    pairs = zip(places, found, strict=True)
    return all(
        value is not None and _close(value, losses[i], losses, rounded) for i, value in pairs
    )


def _close(alone: Tensor, among: Tensor, losses: Float[Tensor, " B"], rounded: torch.dtype) -> bool:
    # What isn't finite is for the check of gradients to name. The floor of 1: losses of a fitted
    # model are differences of logits, whose rounding doesn't shrink with them.
    scale = losses.abs().max().clamp(min=1)
    tolerance = torch.finfo(rounded).eps ** 0.6
    return not bool((alone - among).abs() > tolerance * scale)
