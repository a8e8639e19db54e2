"""From gradients to the vectors of a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.forms import Gradients, Materialised
from headwater.forms.projected import PROJECTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from headwater.checkpoints import AdamState
    from headwater.forms import Form, Projection
    from headwater.tasks.log_odds import LogOdds

CREDIT = ("1 - p",)
"""The block of a number that scores of a training example are multiplied by."""


class CreditedMap:
    """TRAK's: the projected gradient of the log-odds and, beside it, 1 - p.

    Args:
        projection: projects gradients.
        task: the log-odds, which notes those of the batch whose gradients it was asked for.
    """

    def __init__(self, projection: Projection, task: LogOdds) -> None:
        self._projection = projection
        self._task = task

    def __call__(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """The vectors of a batch of training examples."""
        projected = self._projection(gradients, checkpoint)
        odds = self._task.noted
        assert odds is not None
        assert len(odds) == gradients.batch_size
        forms: dict[tuple[str, ...], Form] = dict(projected.forms)
        forms[CREDIT] = Materialised(torch.sigmoid(-odds).to(gradients.like.dtype)[:, None])
        return Gradients(forms, gradients.batch_size, gradients.like)


class AdamMap:
    """LESS's: the update that Adam would make of an example's gradient alone, projected.

    Args:
        states: from a checkpoint's place, and a tensor of the dtype to have them in, to Adam's
            state by parameter.
        projection: projects the updates.
        shapes: the shape of every selected parameter.
    """

    def __init__(
        self,
        states: Callable[[int, Tensor], Mapping[str, AdamState]],
        projection: Projection,
        shapes: Mapping[str, torch.Size],
    ) -> None:
        self._states = states
        self._projection = projection
        self._shapes = shapes

    def __call__(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """The vectors of a batch of training examples."""
        states = self._states(checkpoint, gradients.like)
        by_name: dict[str, Form] = {}
        for block, form in gradients.forms.items():
            parts = form.split([self._shapes[name].numel() for name in block])
            by_name.update(zip(block, parts, strict=True))
        total = gradients.like.new_zeros(gradients.batch_size, self._projection.dim)
        for name, shape in self._shapes.items():
            start = 0
            # Where an example has no gradient, Adam's momentum moves the parameter all the same.
            form = by_name.get(name) or Materialised(
                gradients.like.new_zeros(gradients.batch_size, shape.numel())
            )
            for piece in form.pieces(4 * shape.numel()):
                rows = piece.materialise().unflatten(1, shape)
                updates = Materialised(states[name].update(rows).flatten(1))
                part = Gradients({(name,): updates}, piece.batch_size, gradients.like)
                projected = self._projection(part, checkpoint).forms[PROJECTED].materialise()
                total[start : start + piece.batch_size] += projected
                start += piece.batch_size
        return Gradients({PROJECTED: Materialised(total)}, gradients.batch_size, gradients.like)
