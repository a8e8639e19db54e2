"""GradCos: cosines of gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.engine import Cosines, SelfInfluence, SummedCosines
from headwater.estimators.gradient_estimator import GradientEstimator, even_weights
from headwater.estimators.misplaced import refuse_stored
from headwater.estimators.quantities import Quantities
from headwater.estimators.streamed import Streamed
from headwater.results import Wording

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Unpack

    from headwater.estimators.gradient_estimator import GradientOptions


class GradCos(GradientEstimator):
    """The cosine of two gradients, averaged over checkpoints; between -1 and 1.

        influence(q, n) = 1/C sum over c of
            <grad L(w_c, q), grad L(w_c, n)> / (||grad L(w_c, q)|| ||grad L(w_c, n)||)

    At each checkpoint a gradient is that of all selected parameters, end to end, and is divided by
    its norm there. So an example counts for what it teaches and not for how loudly, where dot
    products put outliers and wrong labels first for every query. Self-influence would be 1 for all.

    Args:
        model, influence_src_dataset, checkpoints: see `GradDot`.
        options: see `GradientOptions`.

    Raises:
        InputError: the checkpoints come from a generator, or the data is a store.
        NonFiniteError: upon a question, if a gradient is zero.

    Source: Barshan et al. (2020), arXiv 2003.11630, on relative influence; Hammoudeh and Lowd
        (2022), arXiv 2201.10055, on normalising TracIn.
    """

    _wording = Wording(
        formula="influence(q, n) = mean over checkpoints of cos(gradient of q, gradient of n)",
        unit="none: between -1 and 1, as a cosine",
    )
    _no_self_influence = "the cosine of a gradient with itself is 1, for every example"

    _takes_sharded = True

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        checkpoints: Any,
        **options: Unpack[GradientOptions],
    ) -> None:
        refuse_stored(influence_src_dataset, "GradCos")
        super().__init__(
            model,
            influence_src_dataset,
            checkpoints,
            learning_rates=even_weights(checkpoints, options.get("checkpoints_load_func")),
            **options,
        )
        self._streamed = Streamed(
            self._net,
            self._selection,
            self._series,
            self._data,
            self._loss_task,
            memory_budget=self.memory_budget,
            name=self.get_name(),
            quantities=Quantities(Cosines, SummedCosines, SelfInfluence, plain=False),
        )
        self._answers = self._streamed
