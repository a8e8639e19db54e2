"""SOURCE: influence through training in segments, from TracIn's limit to influence functions'."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headwater.capture import Capture, PlanChanged, borrowed, eager, select
from headwater.checkpoints import default_checkpoints_load_func
from headwater.checkpoints.recording.folder import is_recording
from headwater.checkpoints.recording.series import CheckpointSeries
from headwater.curvature import EKFAC, KFAC, TrainingPass
from headwater.curvature.segment_scores import SegmentScores, own_scores
from headwater.curvature.segments import Segment, SegmentCurvature, cut
from headwater.engine import memory_budget_bytes
from headwater.engine.gradient_pass import GradientPass, refuse_generator
from headwater.errors import InputError
from headwater.estimators.answered import Answered
from headwater.estimators.loss_name import loss_name
from headwater.estimators.misplaced import refuse_no_examples, refuse_stored
from headwater.estimators.quantities import Quantities
from headwater.estimators.query_batches import query_batches
from headwater.estimators.streamed import Streamed
from headwater.forms import Gradients
from headwater.query import AllScores
from headwater.results import Wording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from jaxtyping import Float
    from torch import Tensor, nn
    from typing_extensions import Self

    from headwater.engine import Quantity, TrainingData
    from headwater.engine.sink import AnySink
    from headwater.engine.visiting import Recorded
    from headwater.estimators.question import Question
    from headwater.tasks import Task


class SOURCE(Answered):
    """Influence on the end of training, as training by SGD went: approximate unrolling.

        influence(q, n) = sum over segments l of
                          <g_q, prod over later l' of exp(-eta K H_l') . f(H_l) mean of g_n in l>
        f(sigma)        = (1 - exp(-eta K sigma)) / sigma

    A segment is a run of checkpoints with K updates at a mean rate eta; H_l is the mean curvature
    at its checkpoints, by EK-FAC. Where eta K sigma is small, a segment gives TracIn's product, K
    updates at once; where it is large, the influence function's, without damping. Divided by N, a
    score estimates by how much the query's loss rises when n is left out of this training run.

    Takes an EK-FAC fit over all checkpoints, once, and with every question what TracIn takes.

    Args:
        segments: how many; checkpoints are shared out evenly.
        updates: how many updates training had taken at each checkpoint; None reads them from a
            recording (its folder, or `CheckpointSeries`).
        curvature: `EKFAC` or `KFAC`, whose damping isn't used.
        layers: dotted names of the modules or parameters that count; None takes every parameter
            that requires grad.
        loss_fn: as of `InfluenceFunction`.
        learning_rates: one per checkpoint; they win over what checkpoints say. With momentum, give
            rates divided by 1 - momentum.
        model, influence_src_dataset, checkpoints, checkpoints_load_func, batch_size, task,
        memory_budget, collate_fn: see `TracInCPBase`.

    Raises:
        InputError: `updates` is missing or doesn't ascend, or there are fewer checkpoints than
            segments.

    Source: Bae et al. (2024), arXiv 2405.12186, equations 14 to 18.
    """

    _wording = Wording(
        formula=(
            "influence(q, n) = sum over segments of training of <gradient of q at the end, what "
            "later segments leave of what the segment makes of the gradient of n>"
        ),
        unit=(
            "that of the query's {measured}, times the number N of training examples: divided by "
            "N it estimates by how much the {measured} rises when the training example is "
            "left out of this training run"
        ),
        own_formula="influence of the example on its own loss, as for a query",
        own_unit="that of the loss times N: as for a query, with the example itself as the query",
    )

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        checkpoints: Any,
        checkpoints_load_func: Callable[[nn.Module, Any], Any] = default_checkpoints_load_func,
        loss_fn: Callable[..., Any] | None = None,
        batch_size: int | Literal["auto"] = "auto",
        *,
        segments: int = 3,
        updates: Sequence[int] | None = None,
        curvature: EKFAC | KFAC | None = None,
        layers: Iterable[str] | None = None,
        learning_rates: Iterable[float] | None = None,
        task: Task | None = None,
        memory_budget: int | str = "auto",
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        curvature = EKFAC() if curvature is None else curvature
        if not isinstance(curvature, (EKFAC, KFAC)):
            raise InputError(f"curvature is {curvature!r}; expected EKFAC() or KFAC()")
        refuse_stored(influence_src_dataset, self.get_name())
        if curvature.factors is not None:
            raise InputError(
                "curvature has a file of factors, which holds those of one model; SOURCE has some "
                "for every segment: leave factors out"
            )
        super().__init__(
            model,
            influence_src_dataset,
            checkpoints,
            checkpoints_load_func,
            loss_fn,
            batch_size,
            learning_rates=learning_rates,
            task=task,
            memory_budget=memory_budget,
            collate_fn=collate_fn,
        )
        refuse_no_examples(influence_src_dataset, self._data.count)
        refuse_generator(self._series)
        count = self._series.count or 0
        if not isinstance(segments, int) or not 1 <= segments <= count:
            raise InputError(
                f"segments is {segments!r}; expected an int from 1 to the number of checkpoints, "
                f"{count}"
            )
        self.curvature = curvature
        self.updates = _updates(updates, checkpoints, count)
        self.segments = segments
        net = eager(model)
        self._selection = select(net, layers)
        self._streamed = Streamed(
            net,
            self._selection,
            self._series,
            self._data,
            self._loss_task,
            memory_budget=memory_budget,
            name=self.get_name(),
            quantities=Quantities(
                pairs=lambda _: SegmentScores(self._curvatures, self._queries),
                summed=lambda _: SegmentScores(self._curvatures, [self._queries_summed()]),
                own=_never,
                plain=False,
            ),
        )
        self._answers = self._streamed
        self._fitted: list[SegmentCurvature] | None = None
        self._queries: list[Gradients] = []

    def fit(self, *, show_progress: bool = False) -> Self:
        """Estimates the segments' curvature, if that isn't done yet.

        Args:
            show_progress: whether bars over the training batches are shown, on stderr.

        Raises:
            CurvatureError: the likelihood of the loss isn't known.
            LossError, CheckpointError, NonFiniteError, CaptureError: see `influence`.
        """
        if self._fitted is None:
            with borrowed(self._streamed.net):
                self._fitted = list(self._fit(show_progress))
        return self

    def _fit(self, show_progress: bool) -> Iterator[SegmentCurvature]:
        parts = self._streamed
        rates = []
        for loaded in parts.series.visit():
            if loaded.by_parameter is not None:
                raise InputError(
                    f"{loaded.name} has several learning rates, and a segment of training has "
                    f"one; pass learning_rates=[...], one per checkpoint, or select layers of one"
                )
            rates.append(loaded.rate)
        before = 0
        for first, last in cut(len(rates), self.segments):
            rate = sum(rates[first : last + 1]) / (last + 1 - first)
            segment = Segment(first, last, rate, self.updates[last] - before)
            before = self.updates[last]
            training = TrainingPass(
                parts.net,
                parts.selection,
                parts.series.picked(range(first, last + 1)),
                parts.data,
                parts.task,
                budget=memory_budget_bytes(self.memory_budget),
                loss=loss_name(parts.task),
                name=self.get_name(),
                show_progress=show_progress,
            )
            corrected = isinstance(self.curvature, EKFAC)
            yield SegmentCurvature(segment, self.curvature.blocks(training, corrected=corrected))

    @property
    def description(self) -> str:
        """The segments, and how their curvature was estimated."""
        if self._fitted is None:
            return f"{self.segments} segments by {self.curvature!r}, not fitted yet"
        lines = [f"{self.segments} segments by {type(self.curvature).__name__} {self._words}"]
        for place, one in enumerate(self._fitted, start=1):
            segment = one.segment
            lines.append(
                f"segment {place}: checkpoints {segment.first} to {segment.last}, "
                f"{segment.updates} updates, eta K = {segment.time:.3g}"
            )
            lines.extend(
                f"  {' + '.join(block)}: {spectrum.words}, mean eigenvalue {spectrum.mean:.3g}"
                for block, spectrum in one.blocks.spectra.items()
            )
        return "\n".join(lines)

    @property
    def _words(self) -> str:
        return f"{self.curvature.words}; not damped"

    @property
    def _curvatures(self) -> list[SegmentCurvature]:
        assert self._fitted is not None, "every question fits first"
        return self._fitted

    @property
    def _batched_loss(self) -> None:
        return None

    def _self_influence(self, show_progress: bool = False) -> Float[Tensor, " N"]:
        self.fit(show_progress=show_progress)
        sink = self._own(lambda: AllScores(1, self._data.count))
        return sink.result()[0]

    def _stream(
        self,
        question: Question | None,
        sink: Callable[[], AnySink],
        *,
        bounded: bool,
        show_progress: bool,
    ) -> AnySink:
        if question is None:
            self.fit(show_progress=show_progress)
            return self._own(sink)
        return super()._stream(question, sink, bounded=bounded, show_progress=show_progress)

    def _prepare(self, asked: tuple[Task, Any] | None, *, show_progress: bool) -> None:
        """Fits, and takes the queries' gradients at the end of training."""
        self.fit(show_progress=show_progress)
        if asked is None:
            return
        task, batch = asked
        data, _ = query_batches(task, batch)
        end = self._series.count
        assert end is not None
        found: list[Gradients] | None = None
        while found is None:
            with suppress(PlanChanged):
                recorded = self._recorded(data, task, end - 1, "query")
                found = [one.by_checkpoint[0] for one in recorded]
        self._queries = found

    def _queries_summed(self) -> Gradients:
        return Gradients.cat([one.summed() for one in self._queries]).summed()

    def _recorded(self, data: TrainingData, task: Task, first: int, kind: str) -> list[Recorded]:
        return list(self._pass(data, task, first, kind))

    def _pass(self, data: TrainingData, task: Task, first: int, kind: str) -> Iterator[Recorded]:
        """The gradients of some examples at the checkpoints from place `first` on."""
        parts = self._streamed
        end = self._series.count
        assert end is not None
        with borrowed(parts.net):
            passing = GradientPass(
                parts.net,
                Capture(parts.net, parts.selection),
                parts.series.picked(range(first, end)),
                data,
                task,
                projection=None,
                budget=memory_budget_bytes(self.memory_budget),
                kind=kind,
            )
            with passing.begun(batch_size=None, skip=0) as (_, recorded):
                yield from recorded

    def _own(self, sink: Callable[[], AnySink]) -> AnySink:
        """The sink with every example's score with itself as the query in it."""
        filled: AnySink | None = None
        while filled is None:
            with suppress(PlanChanged):
                started = sink()
                for one in self._pass(self._data, self._loss_task, 0, "training example"):
                    scores = own_scores(self._curvatures, one.by_checkpoint)
                    started.add(one.start, scores[None])
                filled = started
        return filled


def _updates(given: Sequence[int] | None, checkpoints: Any, count: int) -> list[int]:
    if isinstance(checkpoints, (str, os.PathLike)) and is_recording(Path(checkpoints)):
        # What has to be said of its rates was said when they were opened.
        checkpoints = CheckpointSeries.open(checkpoints, rates="recorded")
    if given is None and isinstance(checkpoints, CheckpointSeries):
        given = checkpoints.steps
    if given is None:
        raise InputError(
            "updates is missing: how many updates training had taken at each checkpoint, as in "
            "updates=[500, 1000, 1500]; a recording (CheckpointSeries, or its folder) has them "
            "itself"
        )
    found = list(given)
    whole = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in found)
    if len(found) != count or not whole or found != sorted(set(found)):
        raise InputError(
            f"updates is {found!r}; expected an ascending list of {count} whole numbers, one per "
            f"checkpoint"
        )
    return found


def _never() -> Quantity:
    raise AssertionError("self-influence has a pass of its own")
