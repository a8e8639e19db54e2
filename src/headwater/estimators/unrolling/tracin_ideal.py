"""TracInIdeal: TracIn over every update of a run, with its optimizer's own step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from headwater.errors import InputError
from headwater.estimators.unrolling.backward_pass import Account
from headwater.estimators.unrolling.run_estimator import RunEstimator

if TYPE_CHECKING:
    from headwater.replay import TrainingRun


class TracInIdeal(RunEstimator):
    """What each training example's gradients moved the query's loss by, over all updates of a run.

    TracIn in the form that its checkpoints stand in for, and exact for the optimizer: with momentum
    a gradient acts in the update of its own batch and, fading, in all later ones; Adam scales its
    coordinates. What is left out is that later gradients would have been others (`ExactUnrolling`
    has that too).

        influence(q, n) = - sum over updates t with n in batch t of  <b_t, grad L(w_t, n)> / B
        b_t = sum over updates s >= t of  (d (w_{s+1} - w_s) / d g_t) grad L(w_s, q)

    For plain SGD that is the sum of rate_t / B times the gradients' dot product, at the weights of
    every update. A positive score is a proponent; the unit is that of the query's loss.

    Time: the run forwards, and once back with a forward and backward pass over the queries and two
    over the batch at every update. Where training computes otherwise than eval mode does, as with
    dropout, one over the batch per query or per example of it, whichever are fewer.

    Args:
        run: the run, recorded or trained.
        query_gradients: "along": the query's gradient is taken at the weights of every update,
            as in TracIn; where nothing decays the weights, a query's scores add up to what its loss
            fell by in the run, up to the second order in the updates' size. "end": at the end of
            the run alone, and from there back through the updates, weight decay too: exact
            unrolling without the loss's second derivatives.
        second_moments: of Adam. "frozen": they count as given, so that the update is made of its
            gradients' shares, and scores add up. "differentiated": what an example does to them
            counts as well, as in exact unrolling; since Adam's step hardly depends on the
            gradients' scale, examples then stand more against one another than for the fall of the
            loss.
        memory_budget: see `RunEstimator`.

    Raises:
        InputError, NotReplayableError: see `RunEstimator`.

    Source: Pruthi et al. (2020), arXiv 2002.08484, section 3.1, TracInIdeal. Differs: batches of
        more than one example, momentum, and Adam.
    """

    def __init__(
        self,
        run: TrainingRun,
        *,
        query_gradients: Literal["along", "end"] = "along",
        second_moments: Literal["frozen", "differentiated"] = "frozen",
        memory_budget: int | str = "auto",
    ) -> None:
        if query_gradients not in ("along", "end"):
            raise InputError(f"query_gradients is {query_gradients!r}; expected 'along' or 'end'")
        if second_moments not in ("frozen", "differentiated"):
            raise InputError(
                f"second_moments is {second_moments!r}; expected 'frozen' or 'differentiated'"
            )
        account = Account(
            curvature=False, query_gradients=query_gradients, frozen=second_moments == "frozen"
        )
        super().__init__(run, account, memory_budget)
