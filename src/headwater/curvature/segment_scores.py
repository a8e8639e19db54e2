"""SOURCE's scores from gradients at the checkpoints of its segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headwater.curvature.segments import SegmentCurvature, by_segment
from headwater.engine.quantity import DotProducts, Evaluator, Part, Quantity
from headwater.forms import Gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.tasks import Task

# Bytes of gradients that are written out at a time.
_AT_ONCE = 64 * 2**20


class SegmentScores(Quantity):
    """Products with each training example's gradients, by the segment of the checkpoint.

    Args:
        curvatures: of the segments.
        queries: gradients at the end of training, in pieces.
    """

    # All of them are held whole already.
    is_divisible = False

    def __init__(
        self, curvatures: Sequence[SegmentCurvature], queries: Sequence[Gradients]
    ) -> None:
        self._curvatures = curvatures
        self._queries = queries
        self.rows = sum(one.batch_size for one in queries)
        self._left: tuple[tuple[int, int], list[Gradients]] | None = None

    def factor(self, rate: float) -> float:
        # The segments' rates are in what queries are multiplied by.
        return 1.0

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        checkpoint: int = getattr(capture, "checkpoint", 0)
        place = next(
            place
            for place, one in enumerate(self._curvatures)
            if one.segment.first <= checkpoint <= one.segment.last
        )
        curvature = self._curvatures[place]
        products = DotProducts(part(self._between(start, stop)[place]))
        size = curvature.segment.size
        return lambda examples, known: products(curvature.blocks.aligned(examples), known) / size

    def _between(self, start: int, stop: int) -> list[Gradients]:
        # The same for all checkpoints of a segment.
        if self._left is None or self._left[0] != (start, stop):
            queries = Gradients.cat(list(self._queries)).examples(start, stop)
            self._left = ((start, stop), by_segment(queries, self._curvatures))
        return self._left[1]

    def row_bytes(self, capture: Callable[..., Gradients], part: Part, batch_size: int) -> float:
        numbers = self._curvatures[0].blocks.numbers * len(self._curvatures)
        return numbers * self._queries[0].like.element_size()

    def example_batch(self, batch_size: int) -> tuple[Task, Any] | None:
        return None


def own_scores(
    curvatures: Sequence[SegmentCurvature], by_checkpoint: Sequence[Gradients]
) -> Float[Tensor, " B"]:
    """Every example's score with itself as the query.

    Args:
        curvatures: of the segments.
        by_checkpoint: the examples' gradients at every checkpoint, in order.
    """
    like, size = by_checkpoint[0].like, by_checkpoint[0].batch_size
    numbers = curvatures[0].blocks.numbers * like.element_size()
    width = max(1, _AT_ONCE // max(1, numbers * (len(curvatures) + 2)))
    totals = []
    for start in range(0, size, width):
        parts = [one.examples(start, start + width) for one in by_checkpoint]
        total = like.new_zeros(parts[0].batch_size)
        for curvature, left in zip(curvatures, by_segment(parts[-1], curvatures), strict=True):
            segment = curvature.segment
            for part in parts[segment.first : segment.last + 1]:
                aligned = curvature.blocks.aligned(part)
                for block, form in left.forms.items():
                    if block in aligned.forms:
                        products = form.materialise() * aligned.forms[block].materialise()
                        total += products.sum(dim=1) / segment.size
        totals.append(total)
    return torch.cat(totals)
