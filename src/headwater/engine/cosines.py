"""Cosines between the gradients of queries and those of training examples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from headwater.engine.quantity import (
    DotProducts,
    Evaluator,
    ExampleRefused,
    PairScores,
    Part,
)
from headwater.engine.summed_scores import SummedScores, sum_of
from headwater.errors import NonFiniteError
from headwater.forms import Gradients, Materialised, Scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms import Form
    from headwater.forms.gradients import Block
    from headwater.forms.shared_inputs import SharedInputs


class CosineEvaluator(DotProducts):
    """With the gradients of queries, each of norm 1, which are its attribute."""

    def __call__(self, examples: Gradients, shared: SharedInputs | None) -> Tensor:
        squares = examples.squared_norm()
        columns = super().__call__(examples, shared).mul_(squares.sqrt().reciprocal_())
        for place in _beyond_squares(squares):
            direction = _written_direction(examples, place)
            columns[:, place : place + 1] = super().__call__(direction, None)
        return columns


def _beyond_squares(squares: Float[Tensor, " B"]) -> list[int]:
    """The places of gradients whose squared norms have lost digits, or all of them.

    A gradient of norm 1e-22, as of an example that is fitted all too well, is like any other in
    float32, but its square isn't.
    """
    info = torch.finfo(squares.dtype)
    kept = (squares >= info.tiny / info.eps) & (squares <= info.max)
    places: list[int] = (~kept).nonzero().flatten().tolist()
    return places


def _written_direction(gradients: Gradients, place: int) -> Gradients:
    """One of the gradients, written out, over its norm; squared only once it is about 1.

    Raises:
        ExampleRefused: it is zero, and has no direction.
    """
    one = gradients.examples(place, place + 1).widened()
    written = {block: form.materialise() for block, form in one.forms.items()}
    entries = [part.abs().max() for part in written.values()]
    largest = float(torch.stack(entries).max()) if entries else 0.0
    if largest == 0:
        raise ExampleRefused(
            place,
            "has a gradient of zero, which has no direction to compare: leave it out, take an "
            "earlier checkpoint, at which it isn't fitted yet, or dot products (GradDot), to which "
            "it adds nothing",
        )
    scaled = {block: part / largest for block, part in written.items()}
    norm = math.hypot(*(float(torch.linalg.vector_norm(part)) for part in scaled.values()))
    forms: dict[Block, Form] = {
        block: Materialised(part.div_(norm)) for block, part in scaled.items()
    }
    return Gradients(forms, 1, one.like)


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
        return CosineEvaluator(Gradients.joined(held, for_products=True))

    def alike(self, evaluator: Evaluator, other: Evaluator) -> Evaluator:
        return evaluator


class SummedCosines(SummedScores):
    """The sum over queries of their cosines with each training example's gradient."""

    def prepare(
        self, capture: Callable[..., Gradients], part: Part, start: int, stop: int, batch_size: int
    ) -> Evaluator:
        captured = self._queries.gradients(capture, 0, self._queries.size, batch_size)
        return CosineEvaluator(sum_of(_directions(captured, part, 0)))


def _directions(captured: Iterator[Gradients], part: Part, first: int) -> Iterator[Gradients]:
    """A part of each query's gradient, divided by the norm of the whole.

    Args:
        captured: the whole gradients, some queries' at a time.
        part: what is held of them.
        first: the number of the first query.
    """

    def directed(gradients: Gradients) -> Gradients:
        nonlocal first
        squares = gradients.squared_norm()
        if _beyond_squares(squares):
            places = range(gradients.batch_size)
            try:
                unit = Gradients.cat([_written_direction(gradients, place) for place in places])
            except ExampleRefused as refused:
                raise refused.named("query", first) from None
        else:
            norms = squares.sqrt_().reciprocal_()
            forms: dict[Block, Form] = {
                block: Scaled(form, norms) for block, form in gradients.forms.items()
            }
            unit = Gradients(forms, gradients.batch_size, gradients.like)
        first += gradients.batch_size
        return part(unit)

    return map(directed, captured)


def normalised_rows(vectors: Float[Tensor, "B D"], *, kind: str, first: int) -> Tensor:
    """Each row over its norm.

    Raises:
        NonFiniteError: a row is zero.
    """
    # Rows too small or too large to be squared have a direction all the same.
    largest = vectors.abs().amax(dim=1, keepdim=True).clamp_(min=torch.finfo(vectors.dtype).tiny)
    vectors = vectors / largest
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    zero = (norms == 0).nonzero().flatten()
    if len(zero):
        raise NonFiniteError(
            f"{kind} {first + int(zero[0])} has a vector of zeros, which has no direction to "
            f"compare; leave it out"
        )
    return vectors / norms[:, None]
