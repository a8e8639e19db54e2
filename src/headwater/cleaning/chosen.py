"""Which checkpoints suspects are looked for at: those where the training loss falls."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import torch

from headwater.capture import borrowed
from headwater.capture.borrowed import evaluate
from headwater.checkpoints.recording.recommend import recommended
from headwater.errors import InputError
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headwater.checkpoints import BoundSeries
    from headwater.estimators.streamed import Streamed

# Examples whose mean loss stands for that of all; its standard error is a few hundredths.
_SAMPLE = 512


def chosen_checkpoints(parts: Streamed, n: int) -> tuple[BoundSeries, str]:
    """N of the checkpoints, and the reason why these.

    Each stands for an equal share of the fall of the training loss, as those of
    `CheckpointSeries.recommend`: of recorded checkpoints the noted loss, of others the mean loss of
    a sample of the training data.

    Args:
        parts: an estimator's.
        n: how many; all where there are no more.

    Raises:
        InputError: n is no positive int, or the checkpoints come from a generator.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise InputError(f"n_checkpoints is {n!r}; expected a positive int")
    series = parts.series
    if not series.replayable:
        raise InputError(
            "the checkpoints come from a generator, and are needed more than once; pass a list"
        )
    if series.count is not None and series.count <= n:
        return series, f"All {series.count}: {n} were asked for."
    recording = series.recording
    if recording is not None and all(loss is not None for loss in recording.losses):
        steps, losses = recording.steps, recording.losses
        rates = [max(each) for each in recording.rates]
    else:
        measured = list(_measured(parts))
        losses, rates = [loss for loss, _ in measured], [rate for _, rate in measured]
        steps = list(range(len(measured))) if recording is None else recording.steps
    places, reason = recommended(steps, losses, rates, n)
    return series.picked(places), reason


def _measured(parts: Streamed) -> Iterator[tuple[float | None, float]]:
    """By checkpoint, the mean loss of a sample of the training examples, and the rate."""
    device = next(parts.net.parameters()).device
    batches = parts.data.batched(parts.data.spread(_SAMPLE))
    with borrowed(parts.net), closing(parts.series.visit()) as visits, torch.no_grad():
        for loaded in visits:
            evaluate(parts.net)
            total, count = 0.0, 0
            for batch in batches:
                losses = parts.task.own_losses(parts.net, borrow(batch, device))
                total, count = total + float(losses.sum()), count + len(losses)
            by_parameter = getattr(loaded, "by_parameter", None)
            rate = loaded.rate if by_parameter is None else max(by_parameter.values())
            yield total / max(1, count), rate
