"""GradDot: dot products of gradients, without learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.estimators.gradient_estimator import GradientEstimator, even_weights
from headwater.estimators.stored.from_store import answering
from headwater.estimators.streamed import Streamed
from headwater.results import Wording

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Unpack

    from headwater.estimators.gradient_estimator import GradientOptions
    from headwater.forms import Projected


class GradDot(GradientEstimator):
    """The dot product of two gradients, averaged over checkpoints; mostly of one, the last.

        influence(q, n)   = 1/C sum over c of <grad L(w_c, q), grad L(w_c, n)>
        self_influence(n) = 1/C sum over c of ||grad L(w_c, n)||^2

    TracIn without its rates: needs nothing but a trained model. Stores take and answer for it.

    Args:
        form: `Projected(dim, seed)` estimates scores without bias from that many numbers per
            gradient; None computes them exactly.
        model, influence_src_dataset, checkpoints: see `TracInCP`; rates that checkpoints come with
            don't count.
        options: see `GradientOptions`.

    Raises:
        InputError: the checkpoints come from a generator.

    Source: Charpiat et al. (2019), arXiv 1906.00257, section 2.
    """

    _wording = Wording(
        formula="influence(q, n) = mean over checkpoints of <gradient of q, gradient of n>",
        unit=(
            "that of the query's {measured}, per unit of learning rate: by how much it falls, to "
            "first order, in one step of plain SGD on the training example alone"
        ),
        own_formula="self_influence(n) = mean over checkpoints of ||gradient of n||^2",
        own_unit="that of the loss, per unit of learning rate",
    )

    _takes_sharded = True

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        checkpoints: Any,
        *,
        form: Projected | None = None,
        **options: Unpack[GradientOptions],
    ) -> None:
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
            form=form,
            memory_budget=self.memory_budget,
            name=self.get_name(),
        )
        self._answers = answering(self._streamed, influence_src_dataset, checkpoints)
