"""One vector per example, over all checkpoints, whose dot products are influence scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from headwater.engine.quantity import Evaluator, Part, Quantity
from headwater.forms import Gradients, Materialised
from headwater.forms.projected import PROJECTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from headwater.forms import Form
    from headwater.forms.gradients import Block
    from headwater.tasks import Task


class Vectors(Quantity):
    """The sum over checkpoints of the root of the rate times the projected gradient.

    Args:
        dim: the length D of what the run's projection makes of a gradient.
    """

    def __init__(self, dim: int) -> None:
        self.rows = dim

    def factor(self, rate: float) -> float:
        # The rate enters on both sides of a product of two vectors, as its root on each.
        return math.sqrt(rate)

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        # A copy: the run scales what it is given in place.
        return lambda examples, _: examples.forms[PROJECTED].materialise()[:, start:stop].mT.clone()

    def row_bytes(self, capture: Callable[..., Gradients], part: Part, batch_size: int) -> float:
        return 0.0

    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        return None


class Concatenation:
    """In the place of a projection: the whole gradients of all checkpoints, end to end.

    Products of the sums over checkpoints then are sums over checkpoints of products.

    Args:
        shapes: the shape of every selected parameter.
        checkpoints: how many checkpoints there are, C.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], checkpoints: int) -> None:
        self._shapes = shapes
        self._each = sum(shape.numel() for shape in shapes.values())
        self.dim = checkpoints * self._each

    def __call__(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """The gradients, written out in the checkpoint's part of otherwise empty vectors."""
        written = gradients.like.new_zeros(gradients.batch_size, self.dim)
        starts, start = {}, checkpoint * self._each
        for name, shape in self._shapes.items():
            starts[name] = start
            start += shape.numel()
        for block, form in gradients.forms.items():
            parts = form.split([self._shapes[name].numel() for name in block])
            for name, part in zip(block, parts, strict=True):
                place = slice(starts[name], starts[name] + self._shapes[name].numel())
                written[:, place] = part.materialise()
        forms: dict[Block, Form] = {PROJECTED: Materialised(written)}
        return Gradients(forms, gradients.batch_size, gradients.like)
