"""What the model says of each training example, at every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from headwater.capture import borrowed
from headwater.capture.borrowed import evaluate
from headwater.cleaning.class_probabilities import log_probabilities
from headwater.engine.fingerprint import weights_digest
from headwater.tasks import LossTask
from headwater.tasks.batch import borrow, leading_size
from headwater.tasks.model_output import returned, tensor_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int

    from headwater.checkpoints.bound_series import LoadedCheckpoint
    from headwater.estimators.streamed import Streamed
    from headwater.tasks import Task


@dataclass(frozen=True)
class Visited:
    """A checkpoint that was visited: what it is called, its rates, a digest of its weights."""

    name: str
    rates: tuple[float, ...]
    weights: str


@dataclass(frozen=True)
class Outputs:
    """What the model says of N examples at C checkpoints.

    Attributes:
        checkpoints: in order.
        losses: each example's.
        given: the classes that the data has, from 0; None where labels are no classes.
        values: the numbers that the data has, where these are what is learnt; else None.
        mean: probabilities of K classes, averaged over the checkpoints; None without classes.
        given_probability: of the given class.
        predicted: the most likely class.
        answers: what the last checkpoint predicts of `values`.
    """

    checkpoints: list[Visited]
    losses: Float[Tensor, "C N"]
    given: Int[Tensor, " N"] | None = None
    values: Float[Tensor, " N"] | None = None
    mean: Float[Tensor, "N K"] | None = None
    given_probability: Float[Tensor, "C N"] | None = None
    predicted: Int[Tensor, "C N"] | None = None
    answers: Float[Tensor, " N"] | None = None


def outputs_of(
    parts: Streamed, task: Task, batches: Sequence[Any] | None = None, *, last_only: bool = False
) -> Outputs:
    """What the model says of training examples or queries.

    Args:
        parts: an estimator's.
        task: how the batches are read.
        batches: other examples than the training examples.
        last_only: whether only the last checkpoint is asked.
    """
    device = next(parts.net.parameters()).device
    data = parts.data
    visited: list[Visited] = []
    by_checkpoint: list[list[_Said]] = []
    with borrowed(parts.net), closing(parts.series.visit()) as visits:
        for loaded in visits:
            evaluate(parts.net)
            visited.append(_visited(parts.net, loaded))
            if last_only and loaded.index + 1 != parts.series.count:
                continue
            size = data.batch_size or 64
            found = data.batches(size) if batches is None else iter(batches)
            by_checkpoint.append([_said(parts.net, task, borrow(one, device)) for one in found])
    return _joined(visited, by_checkpoint)


def visited_checkpoints(parts: Streamed) -> list[Visited]:
    """An estimator's checkpoints, in order."""
    with borrowed(parts.net), closing(parts.series.visit()) as visits:
        return [_visited(parts.net, loaded) for loaded in visits]


def _visited(net: nn.Module, loaded: LoadedCheckpoint) -> Visited:
    by_parameter = loaded.by_parameter
    rates = sorted(set(by_parameter.values())) if by_parameter else [loaded.rate]
    return Visited(loaded.name, tuple(rates), weights_digest(net))


@dataclass(frozen=True)
class _Said:
    losses: Tensor
    labels: Tensor | None
    output: Tensor | None
    probabilities: Tensor | None


def _said(net: nn.Module, task: Task, batch: Any) -> _Said:
    with returned(net) as outputs:
        # With gradients on, as everywhere: a model may differentiate in its forward pass.
        losses = task.own_losses(net, batch).detach().double().cpu()
    # A model that is called several times for a loss has no one output.
    output = tensor_in(outputs[0]) if len(outputs) == 1 else None
    labels = labels_in(task, batch, len(losses))
    labels = None if labels is None else labels.detach().cpu()
    if output is None or not output.dim() or len(output) != len(losses):
        return _Said(losses, labels, None, None)
    output = output.detach().to(torch.promote_types(output.dtype, torch.float32)).cpu()
    return _Said(losses, labels, output, probabilities(task, output, labels))


def labels_in(task: Task, batch: Any, size: int) -> Tensor | None:
    """One label per example, where a batch has them; on the batch's device."""
    labels: Any = None
    if isinstance(batch, Mapping):
        labels = batch.get(getattr(task, "labels", "labels"))
    elif isinstance(batch, (tuple, list)) and len(batch) > 1:
        labels = batch[-1]
    if not isinstance(labels, Tensor) or labels.numel() != size or leading_size(labels) != size:
        return None
    return labels.reshape(size)


def probabilities(
    task: Task, output: Float[Tensor, "B ..."], labels: Tensor | None
) -> Float[Tensor, "B K"] | None:
    """Probabilities of classes, from what the model returns; None where it has no classes."""
    if labels is None:
        return None
    single = output.dim() == 1 or output.shape[1:] == (1,)
    if single:
        loss = task.loss_fn if isinstance(task, LossTask) else None
        binary = isinstance(loss, (nn.BCELoss, nn.BCEWithLogitsLoss))
        if not binary or not bool(((labels == 0) | (labels == 1)).all()):
            return None
    elif (
        output.dim() != 2
        or labels.is_floating_point()
        or bool((labels < 0).any())
        or int(labels.max()) >= output.shape[1]
    ):
        return None
    found = log_probabilities(task, output)
    return None if found is None else found.exp()


def _joined(visited: list[Visited], by_checkpoint: list[list[_Said]]) -> Outputs:
    losses = torch.stack([torch.cat([one.losses for one in said]) for said in by_checkpoint])
    last = by_checkpoint[-1]
    if all(one.labels is not None for one in last):
        labels = torch.cat([one.labels for one in last if one.labels is not None])
    else:
        return Outputs(visited, losses)
    every = [one.probabilities for said in by_checkpoint for one in said]
    if all(one is not None for one in every):
        given = labels.long()
        mean = torch.zeros(0)
        of_given, predicted = [], []
        for place, said in enumerate(by_checkpoint):
            table = torch.cat([one.probabilities for one in said if one.probabilities is not None])
            mean = table.clone() if place == 0 else mean + table
            of_given.append(table.gather(1, given[:, None])[:, 0])
            predicted.append(table.argmax(dim=1))
        return Outputs(
            visited,
            losses,
            given=given,
            mean=mean / len(by_checkpoint),
            given_probability=torch.stack(of_given),
            predicted=torch.stack(predicted),
        )
    answers = [one.output for one in last if one.output is not None and one.output.numel()]
    if len(answers) == len(last) and all(
        one.numel() == len(said.losses) for one, said in zip(answers, last, strict=True)
    ):
        values = torch.cat([one.flatten() for one in answers])
        return Outputs(visited, losses, values=labels.double(), answers=values)
    return Outputs(visited, losses)
