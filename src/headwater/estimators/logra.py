"""LoGra: influence functions of gradients that are projected layer by layer, from both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from headwater.checkpoints import runs_joined
from headwater.estimators.gradient_estimator import even_weights
from headwater.estimators.vector_estimator import VectorEstimator
from headwater.estimators.vectors import GramScoring
from headwater.forms import LayerProjection
from headwater.results import Wording

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Unpack

    from headwater.estimators.gradient_estimator import GradientOptions


class LoGra(VectorEstimator):
    """An influence function on gradients that are projected layer by layer, from both sides.

        M_c(n)          = P_O grad_W L(w_c, n) P_I^T = sum over positions s of (P_O d_s)(P_I x_s)^T
        influence(q, n) = 1/C sum over c, and over parameters, of
                          <M_c(q), (E[M_c M_c^T] + damping)^-1 M_c(n)>

    M counts as one vector of at most dim * dim numbers, and E is the mean over training examples,
    the empirical Fisher information of a parameter. Gradients of weights are never formed: inputs
    and output gradients are projected first. self_influence(n) is influence(n, n). Parameters that
    are no matrices, such as biases, have blocks of their own.

    The damping is, unless it is given, 0.1 times the mean of the min(N, D) largest eigenvalues of
    E[M M^T], by parameter, D their number, so that directions in which gradients hardly vary don't
    decide. Sums are in float64.

    Args:
        dim: the length of a projected axis; shorter ones are left as they are. A parameter's matrix
            then has dim^2 rows and columns: 8 MB at 32, 134 MB at 64.
        damping: in the unit of the eigenvalues of E[M M^T].
        seed: picks the projections, Gaussian and the same at each checkpoint.
        model, checkpoints: see `GradDot`; mostly one checkpoint, the last.
        influence_src_dataset: see `TracInCP`; or a `GradientStore` that was built from a LoGra.
        options: see `GradientOptions`.

    Raises:
        InputError: `dim`, `damping` or `seed` is none, or the checkpoints come from a generator.

    Source: Choe et al. (2024), arXiv 2405.13954, sections 3.1 and 3.2. Differs: random projections
        only, not those by principal components.
    """

    _wording = Wording(
        formula=(
            "influence(q, n) = mean over checkpoints, sum over parameters, of <M(q), (E[M M^T] + "
            "damping)^-1 M(n)>, M the gradient projected on both sides; damping is 0.1 * the mean "
            "of the min(N, D) largest eigenvalues of E[M M^T] unless it is given"
        ),
        unit=(
            "that of the query's {measured}, times N: by N times how much it rises, by an "
            "influence function, if the training example is left out"
        ),
        own_formula="self_influence(n) = influence(n, n)",
        own_unit="that of the example's own loss, times N",
    )

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        checkpoints: Any,
        *,
        dim: int = 32,
        damping: float | Literal["auto"] = "auto",
        seed: int = 0,
        **options: Unpack[GradientOptions],
    ) -> None:
        scoring = GramScoring(scale="mean", damping=damping)
        checkpoints = runs_joined(checkpoints)
        super().__init__(
            model,
            influence_src_dataset,
            checkpoints,
            learning_rates=even_weights(checkpoints, options.get("checkpoints_load_func")),
            **options,
        )
        projection = LayerProjection(dim, seed, self._shapes)
        self._answers = self._answering(
            numbers=projection.numbers,
            settings={"dim": dim, "seed": seed},
            training_map=projection,
            query_map=projection,
            scoring=scoring,
        )
