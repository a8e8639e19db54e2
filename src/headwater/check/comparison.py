"""An estimator's scores of a few examples, held against a plain loop in float64."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from headwater.capture import borrowed
from headwater.check.plain_loop import plain_gradient, plain_scores
from headwater.checkpoints import default_checkpoints_load_func
from headwater.distributed import is_sharded, reshard, sharing_ranks
from headwater.distributed import parts_of as number_of_parts
from headwater.engine import TrainingData
from headwater.errors import InputError
from headwater.estimators.streamed import Streamed
from headwater.tasks import LossTask
from headwater.tasks.batch import borrow, map_leaves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from torch import nn

    from headwater.checkpoints import LoadedCheckpoint
    from headwater.estimators import TracInCPBase
    from headwater.estimators.question import Question
    from headwater.tasks import Task

# In float64 another order of sums makes 1e-13 or so; a wrong gradient makes far more than this.
_WIDE_TOLERANCE = 1e-8
# Copies of the model that are kept for the run in float64.
_WIDE_CHECKPOINTS = 3


@dataclass(frozen=True)
class Exactness:
    """How far an estimator's scores are from those of a plain loop over examples in float64.

    Attributes:
        examples: how many training examples were compared.
        queries: with how many queries.
        checkpoints: at how many checkpoints.
        difference: the largest difference, as a share of the largest score, of the estimator as it
            is: in the model's own precision, at all checkpoints.
        in_float64: the same of a copy of the model in float64, at up to three checkpoints; None
            where the model has no such copy.
        reason: why it has none.
        tolerance: up to where the difference that counts is rounding.
        precision: the model's own, such as "float32".
    """

    examples: int
    queries: int
    checkpoints: int
    difference: float
    in_float64: float | None
    reason: str
    tolerance: float
    precision: str

    @property
    def exact(self) -> bool:
        """Whether the scores differ by no more than rounding does."""
        counts = self.difference if self.in_float64 is None else self.in_float64
        return counts <= self.tolerance


def exactness(
    estimator: TracInCPBase, places: Sequence[int], question: Question, singles: Sequence[Any]
) -> Exactness:
    """An estimator's scores of a few examples, held against a plain loop.

    Of one with a projection, its exact gradients are what is compared.

    Args:
        estimator: a `TracInCP` or `TracInCPFast`.
        places: of the training examples.
        question: scores with the queries, as one batch.
        singles: the queries as batches of one, made apart.

    Raises:
        InputError: examples can't be picked from the training data, or the checkpoints come from a
            generator.
    """
    parts = parts_of(estimator).with_form(None)
    if not parts.series.replayable:
        raise InputError("the checkpoints come from a generator, and are needed twice; pass a list")
    task, batch = question.task, question.batch
    data = parts.data.subset(places)
    training = [parts.data.alone(place) for place in places]
    own = parts.with_data(data).scores(task, batch, show_progress=False)
    loop = _Loop(parts, task, training, singles)
    plain, wide = loop.scores()
    in_float64 = None
    if wide is not None:
        engine = loop.engine_in_float64(data, batch)
        in_float64 = _difference(engine, wide)
    dtype = next(parts.net.parameters()).dtype
    own_tolerance = math.sqrt(torch.finfo(dtype).eps)
    return Exactness(
        examples=len(places),
        queries=len(singles),
        checkpoints=loop.visited,
        difference=_difference(own, plain),
        in_float64=in_float64,
        reason=loop.reason,
        tolerance=own_tolerance if wide is None else _WIDE_TOLERANCE,
        precision=str(dtype).removeprefix("torch."),
    )


def parts_of(estimator: TracInCPBase) -> Streamed:
    """What an estimator is made of.

    Raises:
        InputError: it isn't made of such parts.
    """
    parts = getattr(estimator, "_streamed", None)
    if not isinstance(parts, Streamed) or not parts.quantities.plain:
        raise InputError(
            f"estimator is a {type(estimator).__name__}; only a TracInCP or TracInCPFast on "
            f"training data can be checked"
        )
    return parts


class _Loop:
    """The plain loop at every checkpoint, on a copy of the model in float64 where there is one."""

    def __init__(
        self, parts: Streamed, task: Task, training: Sequence[Any], queries: Sequence[Any]
    ) -> None:
        self._parts = parts
        self._task, self._training_task = task, parts.task
        self._training, self._queries = training, queries
        self.visited = 0
        self.reason = ""
        self._kept: list[tuple[dict[str, Tensor], float]] = []
        self._wide: nn.Module | None = None

    def scores(self) -> tuple[Float[Tensor, "Q N"], Float[Tensor, "Q N"] | None]:
        """The sum over all checkpoints, and over those that are kept for `engine_in_float64`."""
        net = self._parts.net
        total = torch.zeros(len(self._queries), len(self._training), dtype=torch.float64)
        kept = torch.zeros_like(total)
        wanted = self._spread()
        with borrowed(net, in_step=True):
            self._make_wide()
            for loaded in self._parts.series.visit():
                reshard(net)
                model = net.eval()
                if self._wide is not None:
                    model = self._wide
                    model.load_state_dict(net.state_dict())
                self.visited += 1
                asked, training = self._gradients(model)
                total += plain_scores(asked, training, self._rates(loaded))
                if self._wide is not None and loaded.index in wanted:
                    state = copy.deepcopy(self._wide.state_dict())
                    self._kept.append((state, loaded.rate))
                    same = dict.fromkeys(self._parts.selection, loaded.rate)
                    kept += plain_scores(asked, training, same)
        ranks = sharing_ranks(net)
        if ranks is not None:
            # Each has the products of its part of the gradients.
            total = ranks.summed(total)
        return total, None if self._wide is None else kept

    def engine_in_float64(self, data: TrainingData, batch: Any) -> Float[Tensor, "Q N"]:
        """The library's own scores in float64, all examples in one batch."""
        assert self._wide is not None
        batches = [self._widened(one) for one in data.batches(len(self._training))]
        # Each is a batch already, for `DataLoader` to hand on as it is.
        loader: DataLoader[Any] = DataLoader(batches, batch_size=None, collate_fn=_as_it_is)  # type: ignore[arg-type]
        parts = Streamed(
            self._wide,
            self._parts.selection,
            type(self._parts.series)(self._wide, self._kept, default_checkpoints_load_func),
            TrainingData(loader, "auto"),
            self._training_task,
            memory_budget=self._parts.memory_budget,
            name="check",
        )
        return parts.scores(self._task, self._widened(batch), show_progress=False)

    def _make_wide(self) -> None:
        """A copy of the model in float64, if it can compute there."""
        net = self._parts.net
        if is_sharded(net):
            self.reason = "it is sharded over ranks, and no copy of it is made"
            return
        tasks = (self._task, self._training_task, self._training, self._queries)
        try:
            # Some devices have no float64.
            device = "cpu" if next(net.parameters()).device.type == "mps" else None
            self._wide = copy.deepcopy(net).to(device=device, dtype=torch.float64).eval()
            same = self._task is self._training_task
            self._training_task = self._widened_task(self._training_task)
            self._task = self._training_task if same else self._widened_task(self._task)
            self._training = [self._widened(one) for one in self._training]
            self._queries = [self._widened(one) for one in self._queries]
            plain_gradient(self._task, self._wide, self._queries[0], self._parts.selection)
        except Exception as error:
            # Whatever a model does with its own precision may go wrong in another one.
            self._wide = None
            self._task, self._training_task, self._training, self._queries = tasks
            self.reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"

    def _gradients(
        self, model: nn.Module
    ) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
        names = list(self._parts.selection)
        device = next(model.parameters()).device
        asked, training = (
            [plain_gradient(task, model, borrow(one, device), names) for one in singles]
            for task, singles in (
                (self._task, self._queries),
                (self._training_task, self._training),
            )
        )
        return asked, training

    def _rates(self, loaded: LoadedCheckpoint) -> Mapping[str, float]:
        """By parameter, as many times as there are ranks that have the same part of it."""
        by_parameter: Mapping[str, float] | None = getattr(loaded, "by_parameter", None)
        if by_parameter is None:
            by_parameter = dict.fromkeys(self._parts.selection, loaded.rate)
        parameters = dict(self._parts.net.named_parameters())
        ranks = sharing_ranks(self._parts.net)
        size = 1 if ranks is None else ranks.size
        return {
            name: by_parameter[name] * number_of_parts(parameters[name]) / size
            for name in self._parts.selection
        }

    def _spread(self) -> set[int]:
        count = self._parts.series.count or 1
        last = count - 1
        return {i * last // (_WIDE_CHECKPOINTS - 1) for i in range(_WIDE_CHECKPOINTS)}

    def _widened(self, batch: Any) -> Any:
        assert self._wide is not None
        device = next(self._wide.parameters()).device
        return map_leaves(borrow(batch, device), _widened_leaf)

    def _widened_task(self, task: Task) -> Task:
        if not isinstance(task, LossTask) or not isinstance(task.loss_fn, torch.nn.Module):
            return task
        return LossTask(copy.deepcopy(task.loss_fn).double(), reduction=task.reduction)


def _widened_leaf(leaf: Any) -> Any:
    return leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _as_it_is(batch: Any) -> Any:
    return batch


def _difference(scores: Float[Tensor, "Q N"], plain: Float[Tensor, "Q N"]) -> float:
    largest = float(plain.abs().max())
    difference = float((scores.double() - plain).abs().max())
    return difference / largest if largest else difference
