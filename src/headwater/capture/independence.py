"""The checks that an example's loss is its own: alone as in its batch, now as at the next call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headwater.capture.borrowed import refuse_train_mode
from headwater.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        f"{single.item():.6g} alone: the model mixes the examples of a batch, keeps something from "
        f"one call to the next, writes to its input in place, or its forward pass is random, so no "
        f"example has a gradient of its own. Normalise by LayerNorm or running statistics, begin "
        f"every call with a new hidden state and a copy of the input (x.clone()), draw no random "
        f"numbers in eval mode, or use batch_size=1 where examples are "
        f"mixed; for batches whose examples don't lie along the first axis pass a headwater.Task "
        f"with `examples`"
    )


def refuse_changing(seen: Sequence[Float[Tensor, " B"]], rounds_to: torch.dtype | None) -> None:
    """Raises ModelError if calls of the model with one and the same batch gave other losses.

    Args:
        seen: the losses of each call, in order.
        rounds_to: the least precise dtype in which losses are computed; None: their own.
    """
    first, last = seen[0], seen[-1]
    # Far below what matters: a hidden state that is carried on changes less with every call.
    tolerance = torch.finfo(rounds_to or first.dtype).eps ** 0.8 * first.abs().max().clamp(min=1)
    apart = (last - first).abs()
    if not bool((apart > tolerance).any()):
        return
    place = int(apart.argmax())
    raise ModelError(
        f"the losses of a batch are others at every call of the model: example {place} had "
        f"{first[place].item():.6g}, then {last[place].item():.6g}. It keeps something from one "
        f"call to the next, such as a hidden state, writes to its input in place, or its forward "
        f"pass is random, so no example has a gradient of its own. Begin every call with a new "
        f"state and a copy of the input (x.clone()), and draw no random numbers in eval mode"
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
