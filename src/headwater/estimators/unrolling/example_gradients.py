"""Gradients of single examples in a run's model, a row each: of queries, and of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from headwater.capture import Capture, PlanChanged, cuts_into_examples
from headwater.capture.borrowed import evaluate
from headwater.capture.completeness import disagreements
from headwater.capture.graph_size import graph_size
from headwater.capture.transposed_products import transposed_products
from headwater.curvature.vectors import written_out
from headwater.engine import OneBatch
from headwater.engine.checked import CheckedCapture
from headwater.engine.noted import noted_queries
from headwater.errors import CaptureError, ModelError
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from torch import Tensor

    from headwater.estimators.unrolling.adjoint import Rows
    from headwater.forms import Gradients
    from headwater.replay import Player, Query
    from headwater.tasks import Task

# Queries that are captured at a time.
_PIECE = 64
_KIND = "example of an update's batch"


class QueryGradients:
    """The gradients of some queries, at whatever weights the model has.

    Args:
        query: all queries.
        rows: which of them.
        player: holds the model, with weights of the run in it.
    """

    def __init__(self, query: Query, rows: range, player: Player) -> None:
        self._player = player
        self._task = query.task
        self._rows = rows
        self._batch = borrow(query.batch, player.device)
        self._queries = OneBatch(query.task, self._batch, query.size)
        evaluate(player.model)
        with noted_queries(self._batch, None):
            cut = _can_be_cut(query.task, player, self._batch)
        # Without it, all in one batch they are right.
        self._captured = _Captured(player, query.task, "query") if cut else None

    def __call__(self) -> Rows:
        """By parameter, a row per query, in memory of its own."""
        evaluate(self._player.model)
        if self._captured is not None:
            low, high = self._rows.start, self._rows.stop
            return self._captured.rows(
                self._captured.gradients(lambda c: self._queries.gradients(c, low, high, _PIECE))
            )
        with graph_size(self._player.model) as graph:
            losses = self._task.own_losses(self._player.model, self._batch)
        chosen = torch.eye(losses.shape[0], dtype=losses.dtype, device=losses.device)
        names, parameters = zip(*self._player.parameters.items(), strict=True)
        found = transposed_products(
            [losses],
            parameters,
            [chosen[self._rows.start : self._rows.stop]],
            at_once=graph.vectors_at_once,
        )
        # What no entry depends on differently for another query may be one number seen many times.
        return {name: rows.contiguous() for name, rows in zip(names, found, strict=True)}


class BatchGradients:
    """The gradients of an update's examples, where the model computes as in eval mode.

    Capture is for eval mode. Whether training computed the same is seen at every update: then the
    examples' gradients add up to the batch's.

    Args:
        player: holds the model.

    Attributes:
        usable: whether all have added up so far.
    """

    def __init__(self, player: Player) -> None:
        self._player = player
        task = player.objective.query_task(with_targets=True)
        self._captured = _Captured(player, task, _KIND)
        self._task = task
        self.usable = True

    def __call__(self, batch: Any, gradients: Mapping[str, Tensor]) -> Rows | None:
        """By parameter, a row per example, of its share in the batch's loss; None: not usable.

        Args:
            batch: of the update whose weights the model has.
            gradients: of the batch's loss, before clipping.
        """
        if not self.usable:
            return None
        evaluate(self._player.model)
        try:
            (found,) = self._captured.gradients(
                lambda c: [c(self._task, batch, first=0, kind=_KIND, may_be_cut=False)]
            )
        except (CaptureError, ModelError):
            self.usable = False
            return None
        share = 1 / self._player.objective.divisor(found.batch_size)
        weights = found.like.new_full((found.batch_size,), share)
        whole = {
            name: gradients[name] if name in gradients else torch.zeros_like(parameter)
            for name, parameter in self._player.parameters.items()
        }
        if disagreements(found, whole, weights):
            self.usable = False
            return None
        return {name: rows.mul_(share) for name, rows in self._captured.rows([found]).items()}


class _Captured:
    """Captured gradients as rows, with one memory of what fits the model.

    Args:
        player: holds the model.
        task: what is differentiated.
        kind: what the examples are called in messages.
    """

    def __init__(self, player: Player, task: Task, kind: str) -> None:
        self._parameters = player.parameters
        self._capture = Capture(player.model, tuple(player.parameters))
        self._checked = CheckedCapture(self._capture, None, task=task, kind=kind)

    def gradients(self, take: Callable[[CheckedCapture], Iterable[Gradients]]) -> list[Gradients]:
        """The batches that `take` captures one by one."""
        while True:
            # Each time a layer more goes through the fallback, until all fit.
            with suppress(PlanChanged), self._capture.attached():
                return list(take(self._checked))

    def rows(self, batches: list[Gradients]) -> Rows:
        """By parameter, a row per example of all batches, in memory of its own."""
        shapes = {name: parameter.shape for name, parameter in self._parameters.items()}
        written = [written_out(gradients, shapes) for gradients in batches]
        return {
            # Copied, since what a rule returns may be a view of what it was made of.
            name: torch.cat([each[name].to(parameter.dtype) for each in written]).view(
                -1, *parameter.shape
            )
            for name, parameter in self._parameters.items()
        }


def _can_be_cut(task: Task, player: Player, batch: Any) -> bool:
    """Whether queries taken out of their batch have the losses that they have in it."""
    try:
        return cuts_into_examples(task, player.model, batch, lambda _: None)
    except ModelError:
        # Not along the first axis, perhaps.
        return False
