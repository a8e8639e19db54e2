"""Examples as vectors, over all checkpoints, whose dot products are influence scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.capture import borrowed
from headwater.engine import Run, memory_budget_bytes
from headwater.engine.vectors import Concatenation, Vectors
from headwater.errors import InputError
from headwater.query import AllScores, ColumnSum

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from headwater.checkpoints import CheckpointSeries
    from headwater.engine import TrainingData
    from headwater.forms import Projected, Projection
    from headwater.tasks import Task


class ExampleVectors:
    """What turns examples into vectors of length `dim`.

        v(n) = sum over c of sqrt(rate_c) * P_c grad L(w_c, n),    influence(q, n) ~ <v(q), v(n)>

    Args:
        net: the model, which is borrowed for the time of an answer.
        selection: the names of the parameters that count.
        series: the checkpoints.
        form: the projection; None keeps whole gradients of all checkpoints, one after the other,
            and scores are exact.
        memory_budget: bytes, or a text, to be used beyond the model, one batch and the result.
        name: the estimator's name, for progress bars.

    Raises:
        InputError: the checkpoints come from a generator, though every answer visits them again.
    """

    def __init__(
        self,
        net: nn.Module,
        selection: tuple[str, ...],
        series: CheckpointSeries,
        *,
        form: Projected | None,
        memory_budget: int | str,
        name: str,
    ) -> None:
        if not series.replayable or series.count is None:
            raise InputError(
                "the checkpoints come from a generator, but every query visits them again; pass a "
                "list"
            )
        self._net = net
        self._selection = selection
        self._series = series
        self._memory_budget = memory_budget
        self._name = name
        parameters = dict(net.named_parameters())
        shapes = {name: parameters[name].shape for name in selection}
        self._projection: Concatenation | Projection
        if form is None:
            self._projection = Concatenation(shapes, series.count)
            self.dim = self._projection.dim
        else:
            self._projection = form.projection(shapes)
            self.dim = form.dim

    def of(
        self, data: TrainingData, task: Task, *, kind: str, show_progress: bool
    ) -> Float[Tensor, "N D"]:
        """The examples' vectors, on the CPU.

        Args:
            data: the examples.
            task: what is differentiated for each.
            kind: what they are called in messages.
            show_progress: whether there is a bar.
        """
        # How many queries a batch holds is known to the task alone.
        count = data.count if kind != "query" else None
        with borrowed(self._net):
            sink = self._run(data, task, kind, show_progress).stream(
                Vectors(self.dim), lambda: AllScores(self.dim, count), bounded=False
            )
        return sink.result().mT.contiguous()

    def summed(
        self, data: TrainingData, task: Task, *, kind: str, show_progress: bool
    ) -> Float[Tensor, "1 D"]:
        """The sum of the examples' vectors, in memory that doesn't grow with N; as for `of`."""
        with borrowed(self._net):
            sink = self._run(data, task, kind, show_progress).stream(
                Vectors(self.dim), ColumnSum, bounded=True
            )
        return sink.result()[None]

    def _run(self, data: TrainingData, task: Task, kind: str, show_progress: bool) -> Run:
        return Run(
            self._net,
            self._selection,
            self._series,
            data,
            task,
            projection=self._projection,
            budget=memory_budget_bytes(self._memory_budget),
            name=self._name,
            show_progress=show_progress,
            kind=kind,
        )
