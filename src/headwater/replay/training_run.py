"""A training run that can be taken again, update by update."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from headwater.capture.borrowed import evaluate
from headwater.checkpoints import PendingBatch, RecordedStep, load_state, read_run, unwrapped
from headwater.errors import InputError, NonFiniteError, NotReplayableError
from headwater.replay.departure import Comparison
from headwater.replay.examples import Examples
from headwater.replay.objective import Objective, Reduction
from headwater.replay.player import Player
from headwater.replay.queries import query_of
from headwater.replay.snapshot import Snapshot
from headwater.replay.trajectory import Trajectory
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from jaxtyping import Float

    from headwater.replay.queries import Query
    from headwater.tasks import Task

Moments = Mapping[str, Mapping[str, Tensor]]


class TrainingRun:
    """A training run that can be taken again, update by update, and with other example weights.

    Made of a recording (`open`), or by training (`train`). The model is borrowed: after every call
    it is as before.

    A run can be taken again if each update is one optimizer's step with the gradient of one batch:
    the mean or the sum of its examples' losses, perhaps clipped by norm. Gradients added up over
    batches, mixed precision, random augmentation, and running statistics of BatchNorm are not among
    it; the first comparison with recorded weights says so. Dropout is, on the CPU.
    """

    def __init__(
        self,
        model: nn.Module,
        examples: Examples,
        objective: Objective,
        *,
        state: Mapping[str, Tensor],
        moments: Moments,
        steps: Sequence[RecordedStep],
        recorded: Mapping[int, Callable[[], Mapping[str, Tensor]]],
        tolerance: float,
        versions: Mapping[str, str],
        max_grad_norm: float | None,
        trained: frozenset[str] | None,
    ) -> None:
        if not steps:
            raise NotReplayableError("the run has no update; there is nothing to take again")
        self.model = model
        self.examples = examples
        self.objective = objective
        self.steps = tuple(steps)
        self._state = state
        self._moments = moments
        self._recorded = recorded
        self._tolerance = tolerance
        self._versions = versions
        self._trajectory: Trajectory | None = None
        self._player = Player(unwrapped(model), examples, objective, max_grad_norm, trained)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        model: nn.Module,
        dataset: Any,
        loss_fn: Callable[..., Any] | None = None,
        *,
        task: Task | None = None,
        reduction: Reduction | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        max_grad_norm: float | None = None,
        tolerance: float = 0.0,
    ) -> TrainingRun:
        """The run that a `CheckpointRecorder` wrote down, with `batch()` before every update.

        The first time that something is asked of it, all updates are taken again, and wherever
        there is a recorded checkpoint the weights have to be the same, bit for bit.

        Args:
            folder: the recorder's.
            model: the model, of any weights.
            dataset: the training data, in the order that `batch()` spoke of.
            loss_fn: what training minimised, `(predictions, targets)` to a scalar or to one loss
                per example; the very same that training called, for the same bits.
            task: in its place, for batches that are no tuples.
            reduction: whether a batch's loss is the "mean" or the "sum" of its examples'; None:
                what `loss_fn.reduction` says, and else the mean.
            collate_fn: as of the training's loader; None stacks tensors and numbers.
            max_grad_norm: what `clip_grad_norm_` clipped the norm of all gradients to before every
                update; None if it wasn't called.
            tolerance: the difference from recorded weights that is allowed, as a share of the
                largest weight of its parameter; 0 asks for the same bits.

        Raises:
            RecordingError: there is no recording, or it is damaged.
            NotReplayableError: it doesn't say all that is needed; says what is missing.
            InputError: an argument is of the wrong kind.
        """
        if not isinstance(folder, str | os.PathLike):
            raise InputError(f"folder is a {type(folder).__name__}; expected a path")
        _refuse_odd_model(model)
        _refuse_odd_number("tolerance", tolerance)
        _refuse_odd_number("max_grad_norm", max_grad_norm)
        run = read_run(Path(folder))
        state = load_file(run.start.path)
        moments: dict[str, dict[str, Tensor]] = {}
        if run.start.moments_path is not None:
            for kind, values in run.start.moments().items():
                for name, value in values.items():
                    moments.setdefault(name, {})[kind] = value
        return cls(
            model,
            Examples(dataset, _collator(model, task, collate_fn)),
            Objective(loss_fn, task, reduction),
            state=state,
            moments=moments,
            steps=run.steps,
            recorded={step: _loading(path) for step, path in run.weights.items()},
            tolerance=tolerance,
            versions=run.versions,
            max_grad_norm=max_grad_norm,
            trained=None,
        )

    @classmethod
    def train(
        cls,
        model: nn.Module,
        dataset: Any,
        optimizer: torch.optim.Optimizer,
        batches: Iterable[Sequence[int]],
        loss_fn: Callable[..., Any] | None = None,
        *,
        scheduler: Any = None,
        task: Task | None = None,
        reduction: Reduction | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        max_grad_norm: float | None = None,
    ) -> TrainingRun:
        """Trains the model, in the mode that it is in, and keeps what was done in memory.

        Args:
            model: the model; it is trained by this call.
            dataset: the training data.
            optimizer: takes an update after every batch.
            batches: the places of each batch's examples, batch after batch: for one epoch
                `BatchSampler(RandomSampler(dataset), 32, drop_last=False)`, for several a list of
                its batches.
            scheduler: its `step()` is called after every update.
            loss_fn, task, reduction, collate_fn, max_grad_norm: see `open`.

        Raises:
            InputError: an argument is of the wrong kind, or a batch has no example.
            NonFiniteError: the loss became NaN or infinite.
        """
        _refuse_odd_model(model)
        _refuse_odd_number("max_grad_norm", max_grad_norm)
        net = unwrapped(model)
        examples = Examples(dataset, _collator(model, task, collate_fn))
        objective = Objective(loss_fn, task, reduction)
        state = {
            key: value.detach().clone()
            for key, value in net.state_dict().items()
            if isinstance(value, Tensor)
        }
        moments = {
            name: {
                kind: value.detach().clone()
                for kind, value in optimizer.state.get(parameter, {}).items()
                if isinstance(value, Tensor)
            }
            for name, parameter in net.named_parameters()
        }
        # By every name of a tied one.
        trained = frozenset(
            name for name, p in net.named_parameters(remove_duplicate=False) if p.requires_grad
        )
        device = next(net.parameters()).device
        steps: list[RecordedStep] = []
        for number, places in enumerate(batches):
            pending = PendingBatch(places)
            optimizer.zero_grad()
            loss = objective.total(net, borrow(examples.batch(pending.examples), device))
            if not math.isfinite(loss.item()):
                raise NonFiniteError(f"the training loss of update {number} is {loss.item()}")
            loss.backward()
            if max_grad_norm is not None:
                nn.utils.clip_grad_norm_(net.parameters(), max_grad_norm)
            steps.append(pending.step(number, net, optimizer))
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
        end = {name: value.detach().clone() for name, value in net.named_parameters()}
        return cls(
            model,
            examples,
            objective,
            state=state,
            moments=moments,
            steps=steps,
            recorded={len(steps): lambda: end},
            tolerance=0.0,
            versions={},
            max_grad_norm=max_grad_norm,
            trained=trained,
        )

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        optimizers = " and ".join(dict.fromkeys(step.optimizer for step in self.steps))
        return (
            f"TrainingRun({type(self.model).__name__}, examples={self.examples.count}, "
            f"updates={len(self)}, {optimizers})"
        )

    @property
    def nbytes(self) -> int:
        """The size of the weights that the optimizer had."""
        names = {name for group in self.steps[0].layout for name in group}
        return sum(value.nbytes for name, value in self._state.items() if name in names)

    def verify(self) -> float:
        """Takes the run again and compares it with what was recorded.

        Returns:
            the greatest difference that was found, as a share of the largest weight of its
            parameter: 0 for the same bits.

        Raises:
            DepartureError: there are other weights, by more than the tolerance.
            NotReplayableError: the forward pass changes buffers.
        """
        self._trajectory = None
        with self.borrowing() as player:
            self.trajectory(player)
        return self._comparison.largest

    def losses(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        example_weights: Float[Tensor, " N"] | None = None,
        unpack_inputs: bool = True,
    ) -> Float[Tensor, " Q"]:
        """The queries' losses at the end of the run, as it was or with other example weights.

        The run is taken from the start for every call with weights: the same initial weights,
        batches and random numbers. Each example's loss is multiplied by its weight wherever it
        occurs, and what a mean divides by stays the number of the batch's examples. So a weight of
        0 removes an example, and the difference is what `ExactUnrolling` predicts.

        Args:
            inputs, targets, unpack_inputs: the queries, as for `influence`.
            example_weights: one per training example; None: the run as it was.
        """
        query = self.query(inputs, targets, unpack_inputs=unpack_inputs)
        return self.losses_of(query, example_weights)

    def query(self, inputs: Any, targets: Any = None, *, unpack_inputs: bool = True) -> Query:
        """The queries that the arguments of `influence` name, with a task also as rows.

        Raises:
            InputError, BatchError: see `query_of`.
        """
        rows = isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], Mapping)
        if self.objective.loss_fn is None and rows:
            inputs = self.examples.collate(inputs)
        return query_of(self.objective, inputs, targets, unpack_inputs=unpack_inputs)

    def losses_of(
        self, query: Query, example_weights: Float[Tensor, " N"] | None
    ) -> Float[Tensor, " Q"]:
        """The same of queries that are a batch already."""
        if example_weights is not None:
            example_weights = torch.as_tensor(example_weights)
            if example_weights.shape != (self.examples.count,):
                raise InputError(
                    f"example_weights has shape {tuple(example_weights.shape)}; expected one "
                    f"number per training example, ({self.examples.count},)"
                )
            if not bool(torch.isfinite(example_weights).all()):
                raise InputError("example_weights has numbers that aren't finite")
        with self.borrowing() as player:
            if example_weights is None:
                player.load_weights(self.trajectory(player).end.weights)
            else:
                player.load(self._start(player), self.steps[0])
                for step in self.steps:
                    player.take(step, example_weights)
            evaluate(player.model)
            with torch.no_grad():
                losses = query.task.own_losses(player.model, borrow(query.batch, player.device))
        return losses.cpu()

    def borrowing(self) -> AbstractContextManager[Player]:
        """Within, the player that takes the run's updates in the borrowed model."""
        return self._player.borrowing(self._state, self.steps[0].layout)

    def trajectory(self, player: Player) -> Trajectory:
        """The run's states; the first time, all updates are taken and held against the recording.

        Raises:
            DepartureError, NotReplayableError: see `verify`.
        """
        if self._trajectory is None:
            self._comparison = Comparison(self._recorded, self._tolerance, self._versions)
            self._trajectory = Trajectory(
                player,
                self.steps,
                self._start(player),
                lambda step: self._comparison.compare(step, player.parameters),
            )
        return self._trajectory

    def _start(self, player: Player) -> Snapshot:
        load_state(player.model, self._state, "the run's beginning")
        weights = {name: value.detach().clone() for name, value in player.parameters.items()}
        return Snapshot(self.steps[0].step, weights, self._moments)


def _loading(path: Path) -> Callable[[], Mapping[str, Tensor]]:
    return lambda: load_file(path)


def _collator(
    model: nn.Module, task: Task | None, collate_fn: Callable[[list[Any]], Any] | None
) -> Callable[[list[Any]], Any] | None:
    """What makes a batch of examples; None stacks tensors and numbers."""
    if task is None:
        return collate_fn
    return lambda examples: task.collate(unwrapped(model), examples, collate_fn)


def _refuse_odd_model(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")


def _refuse_odd_number(name: str, value: object) -> None:
    if value is None and name != "tolerance":
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise InputError(f"{name} is {value!r}; expected a number of at least 0")
