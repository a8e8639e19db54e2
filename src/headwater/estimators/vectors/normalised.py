"""Scores as cosines of vectors, weighed by checkpoint: LESS's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.engine.cosines import normalised_rows
from headwater.errors import InputError
from headwater.estimators.vectors.scoring import Scorer, VectorScoring
from headwater.forms import Gradients, Materialised
from headwater.forms.projected import PROJECTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.estimators.vectors.scoring import VectorSource


class NormalisedScoring(VectorScoring, Scorer):
    """score(q, n) = sum over c of weight_c * cos(v_c(q), v_c(n)).

    Args:
        weights: one per checkpoint.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = weights

    def fitted(self, source: VectorSource, *, show_progress: bool) -> Scorer:
        return self

    def queries(self, by_checkpoint: Sequence[Gradients]) -> list[Gradients]:
        ready = []
        for gradients in by_checkpoint:
            rows = gradients.forms[PROJECTED].materialise()
            unit = Materialised(normalised_rows(rows, kind="query", first=0))
            ready.append(Gradients({PROJECTED: unit}, gradients.batch_size, gradients.like))
        return ready

    def columns(
        self, queries: Sequence[Gradients], by_checkpoint: Sequence[Gradients], *, start: int
    ) -> Float[Tensor, "Q B"]:
        total: Tensor | None = None
        for weight, asked, part in zip(self._weights, queries, by_checkpoint, strict=True):
            rows = part.forms[PROJECTED].materialise()
            unit = normalised_rows(rows, kind="training example", first=start)
            product = weight * (asked.forms[PROJECTED].materialise() @ unit.mT)
            total = product if total is None else total + product
        assert total is not None, "a series has at least one checkpoint"
        return total

    def own(self, by_checkpoint: Sequence[Gradients]) -> Float[Tensor, " B"]:
        raise InputError("cosines have no self-influence")
