"""The three answers of TracIn, from one pass over checkpoints and training data each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from headwater.capture import borrowed
from headwater.engine import OneBatch, Run, memory_budget_bytes
from headwater.engine.parameter_rates import ParameterRates
from headwater.engine.settled import Remembered
from headwater.errors import BatchError, InputError
from headwater.estimators.misplaced import refuse_arrays
from headwater.estimators.quantities import Quantities
from headwater.estimators.results import KMostInfluentialResults
from headwater.forms import Projected
from headwater.query import AllScores, TopK
from headwater.tasks import Task
from headwater.tasks.batch import borrow, describe, leaves

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor, nn

    from headwater.checkpoints import BoundSeries
    from headwater.engine import Quantity, TrainingData, WorkPlan
    from headwater.engine.sink import AnySink
    from headwater.estimators.question import Question
    from headwater.forms import Gradients, Projection


def projection_of(form: Projected, net: nn.Module, selection: tuple[str, ...]) -> Projection:
    """The projection of the selected parameters' gradients.

    Raises:
        InputError: `form` is no `Projected`.
    """
    if not isinstance(form, Projected):
        raise InputError(
            f"form is {form!r}; expected headwater.Projected(dim=..., seed=...), or None for exact "
            f"gradients"
        )
    parameters = dict(net.named_parameters())
    return form.projection({name: parameters[name].shape for name in selection})


def size_of_queries(task: Task, batch: Any) -> int:
    """The number of queries Q in a batch of them.

    Raises:
        BatchError: it can't be told, or is zero.
    """
    size = task.size(batch)
    if size is None:
        refuse_arrays(batch, "a batch of queries")
        if type(task).size is Task.size and next(leaves(batch), None) is batch:
            raise BatchError(
                f"{type(task).__name__} doesn't say how many queries there are in "
                f"{describe(batch)}; write its `size(batch)`"
            )
        raise BatchError(
            f"the queries are {describe(batch)} without a first axis that says how many they are, "
            f"so this looks like a single query; a batch of one is expected: inputs[None] and "
            f"targets[None]"
        )
    if not size:
        raise BatchError(f"there are 0 queries in {describe(batch)}; expected at least one")
    return size


class Streamed:
    """Scores of all training examples, streamed; the part that exact estimators share.

    Its arguments are its attributes too, and `projection` is what `form` makes of gradients, after
    each parameter's learning rate where they have several.

    Args:
        net: the model, which is borrowed for the time of an answer.
        selection: the names of the parameters that count.
        series: the checkpoints.
        data: the training examples.
        task: what is differentiated for a training example.
        form: what gradients are held as: `Projected`, or None for whatever is exact and cheapest.
        memory_budget: bytes, or a text, to be used beyond the model, one batch and the result.
        name: the estimator's name, for progress bars.
        quantities: what is computed of gradients; None for TracIn's products.
    """

    def __init__(
        self,
        net: nn.Module,
        selection: tuple[str, ...],
        series: BoundSeries,
        data: TrainingData,
        task: Task,
        *,
        form: Projected | None = None,
        memory_budget: int | str,
        name: str,
        quantities: Quantities | None = None,
    ) -> None:
        self.net = net
        self.selection = selection
        self.series = series.selecting(selection)
        self.data = data
        self.task = task
        self.form = form
        parameters = dict(net.named_parameters())
        self.projection = ParameterRates(
            self.series,
            {name: parameters[name].shape for name in selection},
            None if form is None else projection_of(form, net, selection),
        )
        self.memory_budget = memory_budget
        self.name = name
        self.quantities = Quantities() if quantities is None else quantities
        self._remembered = Remembered()

    def projection_for(self, kind: str) -> Callable[[Gradients, int], Gradients]:
        """What gradients of examples of a kind ("query", "training example") go through."""
        return self.projection

    def with_data(self, data: TrainingData) -> Streamed:
        """The same parts on other examples."""
        return Streamed(
            self.net,
            self.selection,
            self.series,
            data,
            self.task,
            form=self.form,
            memory_budget=self.memory_budget,
            name=self.name,
            quantities=self.quantities,
        )

    def with_form(self, form: Projected | None) -> Streamed:
        """The same parts with gradients held in another form."""
        return Streamed(
            self.net,
            self.selection,
            self.series,
            self.data,
            self.task,
            form=form,
            memory_budget=self.memory_budget,
            name=self.name,
            quantities=self.quantities,
        )

    def with_series(self, series: BoundSeries) -> Streamed:
        """The same parts at other checkpoints."""
        return Streamed(
            self.net,
            self.selection,
            series,
            self.data,
            self.task,
            form=self.form,
            memory_budget=self.memory_budget,
            name=self.name,
            quantities=self.quantities,
        )

    def self_influence(self, *, show_progress: bool) -> Float[Tensor, " N"]:
        """Every training example's self-influence."""
        return self.all_of(self.quantities.own, show_progress=show_progress)[0]

    def scores(self, task: Task, batch: Any, *, show_progress: bool) -> Float[Tensor, "Q N"]:
        """All scores.

        Args:
            task: what is differentiated for a query.
            batch: the queries, as a batch that the task reads.
            show_progress: whether there is a bar.
        """
        return self.all_of(lambda: self._pairs(task, batch), show_progress=show_progress)

    def top_k(
        self,
        task: Task,
        batch: Any,
        *,
        k: int,
        side: Literal["proponents", "opponents"],
        show_progress: bool,
    ) -> KMostInfluentialResults:
        """Each query's k highest or lowest scores; arguments as for `scores`."""
        return self.k_most_of(
            lambda: self._pairs(task, batch), k=k, side=side, show_progress=show_progress
        )

    def all_of(
        self, quantity: Callable[[], Quantity], *, show_progress: bool
    ) -> Float[Tensor, "R N"]:
        """A quantity's numbers of all training examples.

        Args:
            quantity: makes it, while the model is borrowed.
            show_progress: whether there is a bar.
        """
        with borrowed(self.net, in_step=True):
            made = quantity()
            sink = self._run(show_progress).stream(
                made, lambda: AllScores(made.rows, self.data.count), bounded=False
            )
        return sink.result()

    def k_most_of(
        self,
        quantity: Callable[[], Quantity],
        *,
        k: int,
        side: Literal["proponents", "opponents"],
        show_progress: bool,
    ) -> KMostInfluentialResults:
        """The k highest or lowest numbers in each row of a quantity; arguments as for `all_of`."""
        with borrowed(self.net, in_step=True):
            made = quantity()
            sink = self._run(show_progress).stream(
                made, lambda: TopK(made.rows, k=k, side=side), bounded=True
            )
        return KMostInfluentialResults(*sink.result())

    def stream(
        self,
        question: Question | None,
        sink: Callable[[], AnySink],
        *,
        bounded: bool,
        show_progress: bool,
    ) -> AnySink:
        """The sink with the answer's columns in it.

        Args:
            question: scores with queries; None for self-influence.
            sink: makes an empty sink; called again if the pass has to start anew.
            bounded: whether the sink forgets columns, so that memory must not grow with N.
            show_progress: whether there is a bar.
        """
        with borrowed(self.net, in_step=True):
            return self._run(show_progress).stream(self._quantity(question), sink, bounded=bounded)

    def plan(self, question: Question | None) -> WorkPlan:
        """How the work of a question is divided within `memory_budget`; captures a few examples.

        Args:
            question: scores with queries; None for self-influence.
        """
        with borrowed(self.net, in_step=True):
            return self._run(False).plan(self._quantity(question))

    def _quantity(self, question: Question | None) -> Quantity:
        if question is None:
            return self.quantities.own()
        device = next(self.net.parameters()).device
        queries = OneBatch(
            question.task, borrow(question.batch, device, copied=True), question.size
        )
        made = self.quantities
        return made.summed(queries) if question.summed else made.pairs(queries)

    def _run(self, show_progress: bool) -> Run:
        return Run(
            self.net,
            self.selection,
            self.series,
            self.data,
            self.task,
            projection=self.projection,
            budget=memory_budget_bytes(self.memory_budget),
            name=self.name,
            show_progress=show_progress,
            remembered=self._remembered,
        )

    def _pairs(self, task: Task, batch: Any) -> Quantity:
        size = size_of_queries(task, batch)
        device = next(self.net.parameters()).device
        return self.quantities.pairs(OneBatch(task, borrow(batch, device, copied=True), size))
