"""Products of gradients in which every coordinate has a weight of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from headwater.engine.quantity import DotProducts, Evaluator, PairScores, Part, SelfInfluence
from headwater.forms import Gradients, OfOutputs
from headwater.forms.gradients import written_as

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from headwater.engine.queries import Queries
    from headwater.forms import Form
    from headwater.forms.gradients import Block

CoordinateWeights: TypeAlias = "Callable[[int, Tensor], Mapping[str, Tensor]]"
"""From a checkpoint's place, and a tensor of the dtype to have them in, to weights by parameter."""


class WeightedPairs(PairScores):
    """sum_i d_i g_q,i g_n,i, with weights d that each checkpoint has of its own.

    Args:
        queries: the queries.
        weights: the weights, which hold what a checkpoint's rate would.
        summed: whether the sum over queries is wanted, one row.
    """

    def __init__(
        self, queries: Queries, weights: CoordinateWeights, *, summed: bool = False
    ) -> None:
        super().__init__(queries)
        self._weights = weights
        self._summed = summed
        if summed:
            self.rows = 1

    def factor(self, rate: float) -> float:
        return 1.0

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        place: int = capture.checkpoint  # type: ignore[attr-defined]
        if self._summed:
            start, stop = 0, self._queries.size
        held, weights = [], None
        for captured in map(part, self._queries.gradients(capture, start, stop, batch_size)):
            if weights is None:
                weights = self._weights(place, captured.like)
            some = _weighted(captured, weights)
            held.append(some.summed() if self._summed else some)
        found = Gradients.joined(held)
        return DotProducts(found.summed() if self._summed else found)

    def alike(self, evaluator: Evaluator, other: Evaluator) -> Evaluator:
        return evaluator

    def row_bytes(self, capture: Callable[..., Gradients], part: Part, batch_size: int) -> float:
        gradients = next(self._queries.gradients(capture, 0, self._queries.size, batch_size))
        numbers = sum(form.numbers for form in part(gradients).forms.values())
        return float(numbers * gradients.like.element_size())


class WeightedNorms(SelfInfluence):
    """sum_i d_i g_n,i^2; weights as for `WeightedPairs`."""

    def __init__(self, weights: CoordinateWeights) -> None:
        self._weights = weights

    def factor(self, rate: float) -> float:
        return 1.0

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        place: int = capture.checkpoint  # type: ignore[attr-defined]
        held: dict[str, Any] = {}

        def evaluate(examples: Gradients, _: object) -> Tensor:
            if not held:
                held.update(self._weights(place, examples.like))
            total = examples.like.new_zeros(examples.batch_size)
            for block, form in examples.forms.items():
                flat = _flat(held, block)
                pieces = form.pieces(2 * len(flat))
                total += torch.cat([piece.materialise().square() @ flat for piece in pieces])
            return total[None]

        return evaluate


def _flat(weights: Mapping[str, Tensor], block: Block) -> Tensor:
    return torch.cat([weights[name].flatten() for name in block])


def _weighted(gradients: Gradients, weights: Mapping[str, Tensor]) -> Gradients:
    forms: dict[Block, Form] = {}
    for block, form in gradients.forms.items():
        own = _flat(weights, block)
        if isinstance(form, OfOutputs):
            own = form.outputs.of_written(own[None])[0]
        forms[block] = written_as(form, form.materialise() * own)
    return Gradients(forms, gradients.batch_size, gradients.like)
