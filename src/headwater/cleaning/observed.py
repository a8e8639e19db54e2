"""What a model says of every training example at each of some checkpoints, forward only."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from tqdm.auto import tqdm

from headwater.capture import borrowed
from headwater.capture.borrowed import evaluate
from headwater.cleaning.labels import labels_of
from headwater.cleaning.outputs import Outputs
from headwater.engine.noted import noted_batch
from headwater.errors import InputError
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int

    from headwater.estimators.streamed import Streamed

Kept: TypeAlias = "Callable[[Float[Tensor, 'B D']], Float[Tensor, 'B E']]"

# Without gradients a batch takes little; larger ones only leave the cache.
_BATCH = 128


@dataclass
class Observed:
    """Numbers of every training example, by checkpoint where there is a C.

    Attributes:
        labels: the given ones.
        losses: as the task has them.
        confidence: the probability of the given label.
        margin: the given label's log-probability less that of the most likely other class.
        predicted: the most likely class.
        predicted_confidence: its probability.
        probabilities: of all classes, the mean over checkpoints.
        names: what the checkpoints are called.
        rates: their learning rates.
        features: what was kept of what the head reads, one matrix per checkpoint; may be empty.
        inputs: what was kept of what the model reads; None where that isn't rows of numbers.
    """

    labels: Int[Tensor, " N"]
    losses: Float[Tensor, "C N"]
    confidence: Float[Tensor, "C N"]
    margin: Float[Tensor, "C N"]
    predicted: Int[Tensor, "C N"]
    predicted_confidence: Float[Tensor, "C N"]
    probabilities: Float[Tensor, "N K"]
    names: tuple[str, ...]
    rates: tuple[float, ...]
    features: list[Float[Tensor, "N D"]] = field(default_factory=list)
    inputs: Float[Tensor, "N D"] | None = None


def observe(
    parts: Streamed,
    labels: Int[Tensor, " N"] | None,
    *,
    keep: Kept | None,
    keep_inputs: Kept | None,
    show_progress: bool,
) -> Observed:
    """Every training example at every checkpoint of the series.

    Memory: N * (C * 6 + K) numbers, and what `keep` makes of features.

    Args:
        parts: an estimator's, at the checkpoints that count.
        labels: the given ones; None reads them from the batches.
        keep: what is kept of features; None keeps none.
        keep_inputs: what is kept of the model's inputs; None keeps none.
        show_progress: whether there is a bar.

    Raises:
        InputError: the model isn't a classifier, or the labels aren't classes.
    """
    device = next(parts.net.parameters()).device
    size = parts.data.batch_size or _BATCH
    by_checkpoint: list[dict[str, Tensor]] = []
    total: Tensor | None = None
    given, names, rates = labels, [], []
    batches = parts.data.number_of_batches(size)
    checkpoints = parts.series.count
    bar = tqdm(
        total=None if batches is None or checkpoints is None else batches * checkpoints,
        desc="What the model says",
        unit="batch",
        disable=not show_progress,
    )
    with borrowed(parts.net), bar, closing(parts.series.visit()) as visits, torch.no_grad():
        for loaded in visits:
            evaluate(parts.net)
            rows: dict[str, list[Tensor]] = {}
            start = 0
            for batch in parts.data.batches(size):
                with noted_batch("training example", start):
                    # The inputs are the same at every checkpoint.
                    once = keep_inputs if not by_checkpoint else None
                    found = _one_batch(parts, borrow(batch, device), given, start, keep, once)
                for name, value in found.items():
                    rows.setdefault(name, []).append(value)
                start += len(found["labels"])
                bar.update()
            if not rows:
                raise InputError("there are no training examples to look for suspects among")
            columns = {name: torch.cat(values) for name, values in rows.items()}
            probabilities = columns.pop("probabilities")
            total = probabilities if total is None else total.add_(probabilities)
            given = columns["labels"]
            by_checkpoint.append(columns)
            names.append(loaded.name)
            rates.append(loaded.rate)
    if labels is not None and len(labels) != len(by_checkpoint[0]["losses"]):
        raise InputError(
            f"labels has {len(labels)} entries for {len(by_checkpoint[0]['losses'])} training "
            f"examples; give one per example"
        )
    assert given is not None
    assert total is not None
    return Observed(
        labels=given,
        probabilities=total / len(by_checkpoint),
        names=tuple(names),
        rates=tuple(rates),
        features=[columns["features"] for columns in by_checkpoint if "features" in columns],
        inputs=by_checkpoint[0].get("inputs"),
        **{name: torch.stack([columns[name] for columns in by_checkpoint]) for name in _STACKED},
    )


_STACKED = ("losses", "confidence", "margin", "predicted", "predicted_confidence")


def _one_batch(
    parts: Streamed,
    batch: object,
    labels: Tensor | None,
    start: int,
    keep: Kept | None,
    keep_inputs: Kept | None,
) -> dict[str, Tensor]:
    with Outputs(parts.net) as outputs:
        losses = parts.task.own_losses(parts.net, batch)
    count = len(losses)
    logs = outputs.log_probabilities(parts.task, count).cpu()
    own = labels_of(parts.task, batch) if labels is None else labels[start : start + count]
    _refuse_unknown(own, logs.shape[1], start)
    if len(own) != count:
        raise InputError(
            f"labels has {start + len(own)} entries, and there are more training examples; give "
            f"one per example"
        )
    given = logs.gather(1, own[:, None])[:, 0]
    others = logs.scatter(1, own[:, None], -torch.inf).amax(dim=1)
    highest, predicted = logs.max(dim=1)
    found = {
        "labels": own,
        "losses": losses.detach().to(logs.dtype).cpu(),
        "confidence": given.exp(),
        "margin": given - others,
        "predicted": predicted,
        "predicted_confidence": highest.exp(),
        "probabilities": logs.exp(),
    }
    features = None if keep is None else outputs.features(count)
    if features is not None and keep is not None:
        found["features"] = keep(features.cpu())
    inputs = None if keep_inputs is None else outputs.inputs(count)
    if inputs is not None and keep_inputs is not None:
        found["inputs"] = keep_inputs(inputs.cpu())
    return found


def _refuse_unknown(labels: Tensor, classes: int, start: int) -> None:
    odd = ((labels < 0) | (labels >= classes)).nonzero().flatten().tolist()
    if odd:
        raise InputError(
            f"training example {start + odd[0]} has the label {int(labels[odd[0]])}, and the model "
            f"has {classes} classes, 0 to {classes - 1}; leave out what has no label"
        )
