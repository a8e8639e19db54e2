"""Scores through the inverse of the training vectors' own Gram matrix: TRAK's and LoGra's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from headwater.errors import InputError
from headwater.estimators.vectors.maps import CREDIT
from headwater.estimators.vectors.scoring import Scorer, VectorScoring
from headwater.forms import Gradients, Materialised
from headwater.forms.projected import PROJECTED
from headwater.linalg import damped_gram, damped_kernel, damping_of, refuse_odd_damping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.estimators.vectors.scoring import VectorSource
    from headwater.forms import Form
    from headwater.forms.gradients import Block
    from headwater.linalg import DampedGram, DampedKernel

    Damped: TypeAlias = DampedGram | DampedKernel


class GramScoring(VectorScoring):
    """score(q, n) = mean over c of v_c(q)^T (G_c + damping)^-1 v_c(n), times a credit of n's own.

    G_c is the sum or the mean over training examples of v v^T, block by block. It accumulates in
    float64 from products in the vectors' own precision; of fewer vectors than dimensions it is
    never made, see `DampedKernel`.

    Args:
        scale: whether G is the "sum" or the "mean".
        damping: in the unit of G's eigenvalues; "auto" takes 0.1 times the mean of the
            min(N, D) largest, block by block.
    """

    def __init__(self, *, scale: Literal["sum", "mean"], damping: float | Literal["auto"]) -> None:
        refuse_odd_damping(damping)
        self._scale = scale
        self._damping = damping

    def fitted(self, source: VectorSource, *, show_progress: bool) -> Scorer:
        grams = source.into(_Grams, show_progress=show_progress)
        if not grams.by_checkpoint:
            raise InputError("there are no training examples, so no matrix to score by")
        scale = 1 / grams.count if self._scale == "mean" else 1.0
        factors: list[dict[Block, Damped]] = []
        for place, by_block in enumerate(grams.by_checkpoint):
            factors.append({})
            for block in list(by_block):
                # Matrices are large: each is gone before the next is factored.
                factors[-1][block] = by_block.pop(block).damped(
                    self._damping,
                    scale=scale,
                    examples=grams.count,
                    name=f"{_called(block)} at checkpoint {place}",
                )
        return GramScorer(factors)


class _Gram:
    """Vectors as long as they are few, and V^T V from when they are as many as dimensions."""

    def __init__(self) -> None:
        self._vectors: list[Float[Tensor, "B D"]] = []
        self._count = 0
        self._gram: Float[Tensor, "D D"] | None = None

    def add(self, vectors: Float[Tensor, "B D"]) -> None:
        """Takes some more."""
        self._vectors.append(vectors)
        self._count += len(vectors)
        if self._count >= vectors.shape[1]:
            self._gram = self._summed()
            self._vectors = []

    def damped(
        self, damping: float | Literal["auto"], *, scale: float, examples: int, name: str
    ) -> Damped:
        """The inverse of scale * V^T V with damping; other arguments as for `damped_gram`."""
        if self._gram is None:
            vectors = torch.cat(self._vectors)
            trace = scale * float(vectors.double().square().sum())
            amount = damping_of(trace, damping, examples=examples, dim=vectors.shape[1])
            found = damped_kernel(vectors, amount, scale=scale)
            if found is not None:
                return found
        gram = self._summed().mul_(scale)
        return damped_gram(gram, damping, examples=examples, name=name)

    def _summed(self) -> Float[Tensor, "D D"]:
        total = self._gram
        for vectors in self._vectors:
            product = (vectors.mT @ vectors).double()
            total = product if total is None else total.add_(product)
        assert total is not None, "there are vectors"
        return total


class _Grams:
    """Gathers what Gram matrices are made of, by checkpoint and block."""

    def __init__(self) -> None:
        self.by_checkpoint: list[dict[Block, _Gram]] = []
        self.count = 0

    def add(self, start: int, by_checkpoint: Sequence[Gradients]) -> None:
        """Takes some examples' vectors."""
        if not self.by_checkpoint:
            self.by_checkpoint = [{} for _ in by_checkpoint]
        self.count += by_checkpoint[0].batch_size
        for grams, gradients in zip(self.by_checkpoint, by_checkpoint, strict=True):
            for block, form in gradients.forms.items():
                if block != CREDIT:
                    grams.setdefault(block, _Gram()).add(form.materialise())


class GramScorer(Scorer):
    """What `GramScoring` makes of the training examples.

    Attributes:
        factors: by checkpoint and block, the damped Gram matrix.
    """

    def __init__(self, factors: Sequence[Mapping[Block, Damped]]) -> None:
        self.factors = factors

    def queries(self, by_checkpoint: Sequence[Gradients]) -> list[Gradients]:
        ready = []
        for factors, gradients in zip(self.factors, by_checkpoint, strict=True):
            forms: dict[Block, Form] = {
                # What no training example has a gradient of meets nothing.
                block: Materialised(factors[block].solve(form.materialise()))
                for block, form in gradients.forms.items()
                if block in factors
            }
            ready.append(Gradients(forms, gradients.batch_size, gradients.like))
        return ready

    def columns(
        self, queries: Sequence[Gradients], by_checkpoint: Sequence[Gradients], *, start: int
    ) -> Float[Tensor, "Q B"]:
        products = [q.dot(part) for q, part in zip(queries, by_checkpoint, strict=True)]
        return _mean(products) * _credit(by_checkpoint)

    def own(self, by_checkpoint: Sequence[Gradients]) -> Float[Tensor, " B"]:
        found = []
        for factors, gradients in zip(self.factors, by_checkpoint, strict=True):
            total = gradients.like.new_zeros(gradients.batch_size)
            for block, form in gradients.forms.items():
                if block != CREDIT:
                    total += factors[block].quadratic(form.materialise())
            found.append(total)
        return _mean(found) * _credit(by_checkpoint)


def _called(block: Block) -> str:
    if block == PROJECTED:
        return "the training examples' gradients, projected to dim numbers,"
    return f"the training examples' projected gradients of {', '.join(block)}"


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(dim=0) / len(parts)


def _credit(by_checkpoint: Sequence[Gradients]) -> Tensor | float:
    """The mean over checkpoints of the examples' own credits; 1 where there are none."""
    credits = [
        part.forms[CREDIT].materialise()[:, 0] for part in by_checkpoint if CREDIT in part.forms
    ]
    return _mean(credits) if credits else 1.0
