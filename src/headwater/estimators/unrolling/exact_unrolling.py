"""ExactUnrolling: what a training example's weight in a run changed, to first order exactly."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from headwater.errors import HeadwaterWarning
from headwater.estimators.unrolling.backward_pass import Account
from headwater.estimators.unrolling.run_estimator import RunEstimator
from headwater.estimators.unrolling.smoothness import Smoothness, measured_smoothness

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.replay import Query, TrainingRun

# The scores hold for a run, so that a few queries show whether they do.
_QUERIES_CHECKED = 16


class ExactUnrolling(RunEstimator):
    """The derivative of a query's loss at the end of a run by the weights of its examples.

        influence(q, n) = - d L(w_T, q) / d e_n,   where training minimised  sum_n (1 + e_n) L(w, n)

    in each of its batches, from the same start, with the same batches in the same order: through
    every update of SGD (momentum, dampening, Nesterov, weight decay), Adam or AdamW as it was, with
    the second derivatives of the loss. To first order it is by how much the query's loss rises when
    example n is taken out of the run (its weight set to 0, the divisor of its batches unchanged): a
    positive score is a proponent. Going back with the derivatives a by weights and b by gradients,

        b_t = (dw_{t+1}/dg_t) a_{t+1} + (dm_{t+1}/dg_t) c_{t+1},   c by the optimizer's moments
        influence(q, n) -= <b_t, grad L(w_t, n)> / B   for n in batch t
        a_t = (dw_{t+1}/dw_t) a_{t+1} + ... + H_t b_t

    Time: the run is taken twice and gone back over, with a backward pass through the gradient of
    each batch for all queries at once. Memory: some 2 sqrt(T) copies of weights and moments; per
    query that is gone back with at once twelve times the weights. So it is for small models.

    A derivative says what a small change does; training may be so rough that removing an example is
    no small change. The first time that scores are asked for, `check` takes the run again a few
    times to see, and warns if the scores are not to be believed.

    Args:
        run: the run, recorded or trained.
        check: whether the first scores are checked. It takes the run nine times more.
        memory_budget: see `RunEstimator`.

    Attributes:
        smoothness: what the last check found; None before.

    Raises:
        InputError, NotReplayableError: see `RunEstimator`.

    Source: Ilyas and Engstrom (2025), MAGIC, arXiv 2504.16430, and Engstrom et al. (2025),
        arXiv 2503.13751, on going back over a run. Differs: states in between are computed again
        from about sqrt(T) of them, in one level.
    """

    def __init__(
        self, run: TrainingRun, *, check: bool = True, memory_budget: int | str = "auto"
    ) -> None:
        account = Account(curvature=True, query_gradients="end", frozen=False)
        super().__init__(run, account, memory_budget)
        self.smoothness: Smoothness | None = None
        self._check = check

    def check(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        removals: int = 6,
        directions: int = 3,
        seed: int = 0,
        unpack_inputs: bool = True,
    ) -> Smoothness:
        """Holds predicted changes of the queries' losses against those of runs taken again.

        Two kinds of change, each as far from the run as removing one example: single examples,
        drawn at random, are removed; and all examples' weights go up or down a little, at random.

        Args:
            inputs, targets, unpack_inputs: the queries, as for `influence`.
            removals: how many examples are removed, each in a run of its own.
            directions: how many random directions are taken, each in a run of its own.
            seed: of what is drawn.

        Raises:
            InputError: there are fewer than two of either kind.
        """
        query = self.run.query(inputs, targets, unpack_inputs=unpack_inputs)
        scores = super()._scores(query, show_progress=False)
        return self._checked(query, scores, removals, directions, seed)

    def _scores(self, query: Query, *, show_progress: bool) -> Float[Tensor, "Q N"]:
        scores = super()._scores(query, show_progress=show_progress)
        if self._check and self.smoothness is None:
            few = min(query.size, _QUERIES_CHECKED)
            self._checked(query.first(few), scores[:few], removals=6, directions=3, seed=0)
        if self.smoothness is not None and not self.smoothness.believable:
            warnings.warn(self.smoothness.reason, HeadwaterWarning, stacklevel=3)
        return scores

    def _checked(
        self,
        query: Query,
        scores: Float[Tensor, "Q N"],
        removals: int,
        directions: int,
        seed: int,
    ) -> Smoothness:
        self.smoothness = measured_smoothness(
            self.run, query, scores, removals=removals, directions=directions, seed=seed
        )
        return self.smoothness
