"""TracInAdam: TracIn for training by Adam, whose step isn't the gradient times a rate."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from headwater.engine import WeightedNorms, WeightedPairs
from headwater.estimators.adam_states import RecordedAdam, recorded_series
from headwater.estimators.gradient_estimator import GradientEstimator
from headwater.estimators.misplaced import refuse_stored
from headwater.estimators.quantities import Quantities
from headwater.estimators.streamed import Streamed
from headwater.results import Wording

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Unpack

    from headwater.estimators.gradient_estimator import GradientOptions


class TracInAdam(GradientEstimator):
    """TracIn with the derivative of Adam's step in the place of the learning rate.

        influence(q, n)   = sum over c of <grad L(w_c, q), d_c * grad L(w_c, n)>
        self_influence(n) = sum over c of <grad L(w_c, n), d_c * grad L(w_c, n)>

    where d_c has a number for every coordinate: by how much the step that Adam took from
    checkpoint c would have grown with the gradient that it was taken with,

        d = rate * [ c1 / (r + eps) - c2 m g / (r (r + eps)^2) ],
        c1 = (1 - beta1) / (1 - beta1^t),  c2 = (1 - beta2) / (1 - beta2^t),

    m and r the bias-corrected mean and root mean square after the update, g the batch's gradient
    (with `weight_decay` where that is a part of it, as in Adam and not in AdamW). Only the step
    itself counts, not what the gradient left in Adam's memory does to later ones. d may be
    negative, so self-influence may be. Coordinates that never had a gradient count as 0.

    Args:
        model, influence_src_dataset: see `TracInCP`.
        checkpoints: the folder of a recording of Adam or AdamW with `moments=True`, or its
            `CheckpointSeries`.
        options: see `GradientOptions`.

    Raises:
        InputError: `checkpoints` is no recording, or the data is a store.
        RecordingError: upon a question, if the recording is of another optimizer, or has no moments
            or gradients.

    Source: Pruthi et al. (2020), arXiv 2002.08484, section 3, which asks for the change that a step
        makes. Differs: Adam's step in the place of plain SGD's.
    """

    _wording = Wording(
        formula=(
            "influence(q, n) = sum over checkpoints of <gradient of q, derivative of Adam's step * "
            "gradient of n>"
        ),
        unit=(
            "that of the query's {measured}: by how much it falls, to first order, if the training "
            "example's gradient is added to that of the batch in the step from each checkpoint"
        ),
        own_formula=(
            "self_influence(n) = sum over checkpoints of <gradient of n, derivative of Adam's step "
            "* gradient of n>"
        ),
        own_unit=(
            "that of the loss: by how much a training example's own loss falls, to first order, if "
            "its gradient is added to that of the batch in the step from each checkpoint"
        ),
        own_sign=(
            "high where only the example's own gradient could teach it; negative where a larger "
            "gradient would have made Adam's step smaller"
        ),
    )

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        checkpoints: Any,
        **options: Unpack[GradientOptions],
    ) -> None:
        refuse_stored(influence_src_dataset, "TracInAdam")
        series = recorded_series(checkpoints, "TracInAdam")
        # The rate is in the derivative.
        ones = [1.0] * len(series)
        super().__init__(model, influence_src_dataset, series, learning_rates=ones, **options)
        parameters = dict(self._net.named_parameters())
        shapes = {name: parameters[name].shape for name in self._selection}
        weights = RecordedAdam(series, shapes, self.memory_budget).derivatives
        self._streamed = Streamed(
            self._net,
            self._selection,
            self._series,
            self._data,
            self._loss_task,
            memory_budget=self.memory_budget,
            name=self.get_name(),
            quantities=Quantities(
                pairs=partial(WeightedPairs, weights=weights),
                summed=partial(WeightedPairs, weights=weights, summed=True),
                own=partial(WeightedNorms, weights),
                plain=False,
            ),
        )
        self._answers = self._streamed
