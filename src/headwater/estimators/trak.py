"""TRAK: attribution through a projected linear model of the log-odds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from headwater.checkpoints import runs_joined
from headwater.estimators.gradient_estimator import even_weights
from headwater.estimators.vector_estimator import VectorEstimator
from headwater.estimators.vectors import CreditedMap, GramScoring
from headwater.forms import Projected
from headwater.results import Wording
from headwater.tasks import LogOdds, LossTask
from headwater.tasks.loss import declared_reduction

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from headwater.estimators.gradient_estimator import GradientOptions
    from headwater.tasks import Task


class TRAK(VectorEstimator):
    """Attribution by a linear model of the log-odds in randomly projected gradients.

        f(w, n)         = log(p / (1 - p)), p the probability of n's right answer
        phi_c(n)        = P_c grad f(w_c, n)
        influence(q, n) = [ 1/C sum over c of phi_c(q)^T (Phi_c^T Phi_c + damping)^-1 phi_c(n) ]
                          * [ 1/C sum over c of (1 - p_c(n)) ]

    Phi_c has a row phi_c(n) for each training example, and P_c is a random projection to `dim`
    numbers, another one at each checkpoint. The two means over checkpoints are taken apart.
    self_influence(n) is influence(n, n). Best with several models that were trained independently:
    pass the last checkpoint of each.

    The damping is, unless it is given, 0.1 times the mean of the min(N, dim) largest eigenvalues of
    Phi_c^T Phi_c, outside of which all are 0: with `dim` near the number of examples, or above it,
    directions that are all noise would else be blown up, or have no inverse. Sums are in float64.

    Args:
        model: a classifier with logits (B, K), or with one logit per example.
        checkpoints: of one run or of several; each counts as one model. Several runs may be a list
            of lists. Rates that they come with don't count.
        dim: how many numbers a projected gradient has; a few percent of the number of examples to
            all of it. Memory: 8 * dim^2 bytes per checkpoint, beside the vectors.
        damping: in the unit of the eigenvalues of Phi_c^T Phi_c.
        seed: picks the projections.
        influence_src_dataset: see `TracInCP`; or a `GradientStore` that was built from a TRAK.
        options: see `GradientOptions`. `loss_fn` and `task` may be left out; else their losses are
            negative log-likelihoods, one per example, of which the log-odds are made.

    Raises:
        InputError: `dim`, `damping` or `seed` is none, or the checkpoints come from a generator.
        BatchError: upon a question, if predictions and targets are no classifier's.

    Source: Park et al. (2023), arXiv 2303.14186, equation 16 and section 3.2. Differs: a sketch
        projects, see `Projected`, and there is a damping.
    """

    _wording = Wording(
        formula=(
            "influence(q, n) = [mean over checkpoints of phi(q)^T (Phi^T Phi + damping)^-1 phi(n)] "
            "* [mean over checkpoints of 1 - p(n)], phi the projected gradient of the log-odds; "
            "damping is 0.1 * the mean of the min(N, dim) largest eigenvalues of Phi^T Phi unless "
            "it is given"
        ),
        unit=(
            "that of the query's log-odds: by how much they fall, to first order, if the training "
            "example is left out"
        ),
        sign=(
            "positive: a proponent, with it in training the query's right answer is more likely; "
            "negative: an opponent"
        ),
        own_formula="self_influence(n) = influence(n, n)",
        own_unit="that of the example's log-odds",
    )

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        checkpoints: Any,
        *,
        dim: int = 2048,
        damping: float | Literal["auto"] = "auto",
        seed: int = 0,
        **options: Unpack[GradientOptions],
    ) -> None:
        form = Projected(dim, seed)
        scoring = GramScoring(scale="sum", damping=damping)
        checkpoints = runs_joined(checkpoints)
        if options.get("task") is not None:
            options["task"] = LogOdds(options["task"])
        super().__init__(
            model,
            influence_src_dataset,
            checkpoints,
            learning_rates=even_weights(checkpoints, options.get("checkpoints_load_func")),
            **options,
        )
        assert isinstance(self._loss_task, LogOdds)
        projection = form.projection(self._shapes)
        self._answers = self._answering(
            numbers=dim,
            settings={"dim": dim, "seed": seed},
            training_map=CreditedMap(projection, self._loss_task),
            query_map=projection,
            scoring=scoring,
        )

    def _as_task(self, loss_fn: Callable[..., Any] | None) -> Task:
        if self._given_task is not None:
            return self._given_task
        if loss_fn is None or _is_plain_cross_entropy(loss_fn):
            return LogOdds()
        reduction = declared_reduction(loss_fn, batched=self._batched_loss)
        return LogOdds(LossTask(loss_fn, reduction=reduction))


def _is_plain_cross_entropy(loss_fn: Callable[..., Any]) -> bool:
    """Whether log-odds from logits are those of this loss; they are the more exact ones."""
    return (
        type(loss_fn) is nn.CrossEntropyLoss
        and loss_fn.weight is None
        and not loss_fn.label_smoothing
    )
