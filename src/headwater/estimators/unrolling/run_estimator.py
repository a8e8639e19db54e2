"""What the estimators that follow a run back have in common: the questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from headwater.engine import memory_budget_bytes
from headwater.errors import InputError
from headwater.estimators.data_influence import DataInfluence
from headwater.estimators.misplaced import refuse_misplaced_queries, refuse_odd_question
from headwater.estimators.results import KMostInfluentialResults
from headwater.estimators.unrolling.backward_pass import Account, backward_pass
from headwater.replay import Query, TrainingRun
from headwater.replay.derivatives import rule_of

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

# Numbers held per parameter and query: three derivatives by the state, and what is made on the way.
_NUMBERS = 12


class RunEstimator(DataInfluence):
    """Influence of the training examples of a run, in one pass from its end to its beginning.

    Args:
        run: the run.
        account: what is taken into account of how a gradient acts on.
        memory_budget: see `TracInCPBase`; it bounds how many queries are gone back with at once.

    Raises:
        InputError: `run` is no `TrainingRun`.
        NotReplayableError: an update was taken by an optimizer whose step can't be differentiated.
    """

    def __init__(self, run: TrainingRun, account: Account, memory_budget: int | str) -> None:
        if not isinstance(run, TrainingRun):
            raise InputError(
                f"run is a {type(run).__name__}; expected a TrainingRun: "
                f"TrainingRun.open(folder, model, dataset, loss_fn) of what a CheckpointRecorder "
                f"wrote, or TrainingRun.train(...)"
            )
        for optimizer in {step.optimizer for step in run.steps}:
            rule_of(optimizer)
        memory_budget_bytes(memory_budget)
        self.run = run
        self.memory_budget = memory_budget
        self._account = account

    def __repr__(self) -> str:
        return f"{self.get_name()}({self.run!r})"

    def influence(  # type: ignore[override]
        self,
        inputs: Any = None,
        targets: Any = None,
        k: int | None = None,
        proponents: bool = True,
        unpack_inputs: bool = True,
        show_progress: bool = False,
    ) -> Tensor | KMostInfluentialResults:
        """Self-influence, all scores, or each query's k most influential training examples.

        Args:
            inputs: the queries' model inputs; None asks for self-influence, for which each training
                example is a query too. With a `task`, the whole batch that it reads.
            targets: the queries' targets. None: the model's own output, one number per query, is
                differentiated instead of the loss.
            k: how many training examples to return per query; None returns all scores.
            proponents: whether the k are the highest scores or (opponents) the lowest.
            unpack_inputs: whether a tuple or list is unpacked, `model(*inputs)`.
            show_progress: whether a bar over the run's updates is shown, on stderr.

        Returns:
            on the CPU, in the model's precision: self-influence `(N,)`, scores `(Q, N)`, or
            `KMostInfluentialResults` of indices and scores `(Q, min(k, N))`, ties in the order of
            the training data. Examples that were in no batch have the score 0.

        Raises:
            InputError: k is no int of at least 0, or the arguments don't go together.
            DepartureError: the run, taken again, comes to other weights than were recorded.
            NotReplayableError: the run changes buffers in its forward passes.
            NonFiniteError: the derivative grows beyond all numbers.
        """
        refuse_odd_question(inputs, targets, k, task_given=False)
        if inputs is None:
            return self._self_influence(show_progress=show_progress)
        task_given = self.run.objective.loss_fn is None
        unpack = unpack_inputs and not task_given and isinstance(inputs, (tuple, list))
        arguments = tuple(inputs) if unpack else (inputs,)
        refuse_misplaced_queries(arguments, targets, self.run.model, task_given=task_given)
        query = self.run.query(inputs, targets, unpack_inputs=unpack_inputs)
        scores = self._scores(query, show_progress=show_progress)
        if k is None:
            return scores
        return KMostInfluentialResults.among(scores, k=k, proponents=proponents)

    def _scores(self, query: Query, *, show_progress: bool) -> Float[Tensor, "Q N"]:
        at_once = self._rows_at_once()
        starts = range(0, query.size, at_once)
        blocks = []
        with (
            tqdm(
                total=len(self.run) * len(starts),
                desc=self.get_name(),
                unit="update",
                disable=not show_progress,
            ) as bar,
            self.run.borrowing() as player,
        ):
            for start in starts:
                rows = range(start, min(start + at_once, query.size))
                blocks.append(backward_pass(self.run, player, query, rows, self._account, bar))
        scores = torch.cat(blocks)
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def _self_influence(self, *, show_progress: bool) -> Float[Tensor, " N"]:
        count, at_once = self.run.examples.count, self._rows_at_once()
        task = self.run.objective.query_task(with_targets=True)
        parts = []
        for start in range(0, count, at_once):
            places = range(start, min(start + at_once, count))
            query = Query(task, self.run.examples.batch(places), len(places))
            scores = self._scores(query, show_progress=show_progress)
            parts.append(scores[:, places.start : places.stop].diagonal())
        return torch.cat(parts)

    def _rows_at_once(self) -> int:
        nbytes = _NUMBERS * max(1, self.run.nbytes)
        return max(1, memory_budget_bytes(self.memory_budget) // (2 * nbytes))
