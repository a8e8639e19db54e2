"""LESS: which training examples Adam would turn into steps towards a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from headwater.capture import eager, select
from headwater.checkpoints.recording.selected import selected_rates
from headwater.errors import InputError
from headwater.estimators.adam_states import RecordedAdam, recorded_series
from headwater.estimators.vector_estimator import VectorEstimator
from headwater.estimators.vectors import AdamMap, NormalisedScoring
from headwater.forms import Projected
from headwater.results import Wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Unpack

    from headwater.checkpoints import RecordedCheckpoint
    from headwater.estimators.gradient_estimator import GradientOptions


class LESS(VectorEstimator):
    """The cosine between a query's gradient and the update that Adam makes of an example's.

        influence(q, n) = sum over c of rate_c * cos(R_c grad L(w_c, q), R_c Gamma_c(n))

    Gamma_c(n) is the step, rate left out, that Adam would take from checkpoint c with its saved
    moments if grad L(w_c, n) were the batch's gradient; R_c projects to `dim` numbers. Made for
    choosing data for fine-tuning, where texts' lengths would else decide: cosines know none.
    There is no self-influence: how far an example's gradient and its own step point the same way
    says nothing of the example.

    Args:
        checkpoints: the folder of a recording of Adam or AdamW with `moments=True`, or its
            `CheckpointSeries`; one per epoch, say.
        dim: how many numbers a projected update has.
        seed: picks the projections.
        learning_rates: one per checkpoint, such as each epoch's mean; None takes those that were
            recorded.
        model: see `TracInCP`.
        influence_src_dataset: see `TracInCP`; or a `GradientStore` that was built from a LESS.
        options: see `GradientOptions`.

    Raises:
        InputError: `checkpoints` is no recording, parameters had several learning rates and none
            are given, or `dim` or `seed` is none.
        RecordingError: upon a question, if the recording is of another optimizer, or has no
            moments.
        NonFiniteError: upon a question, if a projected gradient or update is zero.

    Source: Xia et al. (2024), arXiv 2402.04333, equation 2 and section 3. Differs: Adam's bias
        corrections are those of the update that was to come, and queries are scored one by one.
    """

    _wording = Wording(
        formula=(
            "influence(q, n) = sum over checkpoints of learning rate * cos(projected gradient of "
            "q, projected Adam update made of the gradient of n)"
        ),
        unit="that of a learning rate: the scores of a query are at most the sum of the rates",
    )
    _no_self_influence = (
        "the cosine of an example's gradient with the step that Adam makes of it says nothing of "
        "the example"
    )

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        checkpoints: Any,
        *,
        dim: int = 8192,
        seed: int = 0,
        learning_rates: Iterable[float] | None = None,
        **options: Unpack[GradientOptions],
    ) -> None:
        form = Projected(dim, seed)
        series = recorded_series(checkpoints, "LESS")
        if learning_rates is None and isinstance(model, nn.Module):
            learning_rates = _rates(series, select(eager(model), options.get("layers")))
        weights = None if learning_rates is None else list(learning_rates)
        super().__init__(model, influence_src_dataset, series, learning_rates=weights, **options)
        shapes = self._shapes
        projection = form.projection(shapes)
        states = RecordedAdam(series, shapes, self.memory_budget)
        self._answers = self._answering(
            numbers=dim,
            settings={"dim": dim, "seed": seed, "steps": [one.step for one in series]},
            training_map=AdamMap(states, projection, shapes),
            query_map=projection,
            scoring=NormalisedScoring(weights or []),
        )


def _rates(series: Sequence[RecordedCheckpoint], selection: tuple[str, ...]) -> list[float]:
    found = []
    for checkpoint in series:
        rates = set(selected_rates(checkpoint, selection, checkpoint.path.name).values())
        if len(rates) > 1:
            raise InputError(
                f"{checkpoint.path.name} has several learning rates ({sorted(rates)}), and a "
                f"cosine over all parameters is weighed by one; pass learning_rates=[...], one per "
                f"checkpoint, or layers=[...] of one parameter group"
            )
        found.append(rates.pop())
    return found
