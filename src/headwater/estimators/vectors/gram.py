"""Scores through the inverse of the training vectors' own Gram matrix: TRAK's and LoGra's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from headwater.errors import InputError
from headwater.estimators.vectors.maps import CREDIT
from headwater.estimators.vectors.scoring import Scorer, VectorScoring
from headwater.forms import Gradients, Materialised
from headwater.linalg import damped_gram, refuse_odd_damping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.estimators.vectors.scoring import VectorSource
    from headwater.forms import Form
    from headwater.forms.gradients import Block
    from headwater.linalg import DampedGram


class GramScoring(VectorScoring):
    """score(q, n) = mean over c of v_c(q)^T (G_c + damping)^-1 v_c(n), times a credit of n's own.

    G_c is the sum or the mean over training examples of v v^T, block by block. It accumulates in
    float64 from products in the vectors' own precision.

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
        factors: list[dict[Block, DampedGram]] = []
        for place, by_block in enumerate(grams.by_checkpoint):
            factors.append({})
            for block in list(by_block):
                # Matrices are large: each is gone before the next is factored.
                gram = by_block.pop(block)
                if self._scale == "mean":
                    gram.div_(grams.count)
                name = f"{', '.join(block)}, checkpoint {place}"
                factors[-1][block] = damped_gram(
                    gram, self._damping, examples=grams.count, name=name
                )
        return GramScorer(factors)


class _Grams:
    """Adds up v v^T over examples, by checkpoint and block."""

    def __init__(self) -> None:
        self.by_checkpoint: list[dict[Block, Float[Tensor, "D D"]]] = []
        self.count = 0

    def add(self, start: int, by_checkpoint: Sequence[Gradients]) -> None:
        """Takes some examples' vectors."""
        if not self.by_checkpoint:
            self.by_checkpoint = [{} for _ in by_checkpoint]
        self.count += by_checkpoint[0].batch_size
        for grams, gradients in zip(self.by_checkpoint, by_checkpoint, strict=True):
            for block, form in gradients.forms.items():
                if block == CREDIT:
                    continue
                vectors = form.materialise()
                product = (vectors.mT @ vectors).double()
                grams[block] = product if block not in grams else grams[block].add_(product)


class GramScorer(Scorer):
    """What `GramScoring` makes of the training examples.

    Attributes:
        factors: by checkpoint and block, the damped Gram matrix.
    """

    def __init__(self, factors: Sequence[Mapping[Block, DampedGram]]) -> None:
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


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(dim=0) / len(parts)


def _credit(by_checkpoint: Sequence[Gradients]) -> Tensor | float:
    """The mean over checkpoints of the examples' own credits; 1 where there are none."""
    credits = [
        part.forms[CREDIT].materialise()[:, 0] for part in by_checkpoint if CREDIT in part.forms
    ]
    return _mean(credits) if credits else 1.0
