"""Cosines between the gradients of queries and those of training examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.engine.quantity import DotProducts, Evaluator, PairScores, Part
from headwater.engine.summed_scores import SummedScores
from headwater.errors import NonFiniteError
from headwater.forms import Gradients, Scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms import Form
    from headwater.forms.gradients import Block
    from headwater.forms.shared_inputs import SharedInputs


def inverse_norms(gradients: Gradients, *, kind: str, first: int | None) -> Float[Tensor, " B"]:
    """One over each gradient's norm.

    Args:
        gradients: the gradients.
        kind: what the examples are called in messages.
        first: the index of the first; None where it isn't known here.

    Raises:
        NonFiniteError: a gradient is zero, or so small that its norm is, and has no direction.
    """
    norms = gradients.squared_norm().sqrt_()
    zero = (norms == 0).nonzero().flatten()
    if len(zero):
        place = int(zero[0])
        called = f"number {place} of its batch" if first is None else str(first + place)
        raise NonFiniteError(
            f"{kind} {called} has a gradient of zero, which has no direction to compare: leave it "
            f"out, take an earlier checkpoint, at which it isn't fitted yet, or dot products "
            f"(GradDot), to which it adds nothing"
        )
    return norms.reciprocal_()


class CosineEvaluator(DotProducts):
    """With the gradients of queries, each of norm 1, which are its attribute."""

    def __call__(self, examples: Gradients, shared: SharedInputs | None) -> Tensor:
        scale = inverse_norms(examples, kind="training example", first=None)
        return super().__call__(examples, shared).mul_(scale)


class Cosines(PairScores):
    """The cosine of each query's gradient with each training example's, over all parameters."""

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        captured = self._queries.gradients(capture, start, stop, batch_size)
        held = [
            directions.for_pairs(queries=stop - start)
            for directions in _directions(captured, part, start)
        ]
        return CosineEvaluator(Gradients.joined(held))

    def alike(self, evaluator: Evaluator, other: Evaluator) -> Evaluator:
        return evaluator


class SummedCosines(SummedScores):
    """The sum over queries of their cosines with each training example's gradient."""

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        total: Gradients | None = None
        captured = self._queries.gradients(capture, 0, self._queries.size, batch_size)
        for directions in _directions(captured, part, 0):
            added = directions.summed()
            total = added if total is None else Gradients.cat([total, added]).summed()
        assert total is not None, "there is at least one query"
        return CosineEvaluator(total)


def _directions(captured: Iterator[Gradients], part: Part, first: int) -> Iterator[Gradients]:
    """A part of each query's gradient, divided by the norm of the whole.

    Args:
        captured: the whole gradients, some queries' at a time.
        part: what is held of them.
        first: the number of the first query.
    """

    def directed(gradients: Gradients) -> Gradients:
        nonlocal first
        norms = inverse_norms(gradients, kind="query", first=first)
        first += gradients.batch_size
        forms: dict[Block, Form] = {
            block: Scaled(form, norms) for block, form in gradients.forms.items()
        }
        return part(Gradients(forms, gradients.batch_size, gradients.like))

    return map(directed, captured)


def normalised_rows(vectors: Float[Tensor, "B D"], *, kind: str, first: int) -> Tensor:
    """Each row over its norm.

    Raises:
        NonFiniteError: a row is zero.
    """
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    zero = (norms == 0).nonzero().flatten()
    if len(zero):
        raise NonFiniteError(
            f"{kind} {first + int(zero[0])} has a vector of zeros, which has no direction to "
            f"compare; leave it out"
        )
    return vectors / norms[:, None]
