"""What each checkpoint contributes: its rate, the loss there, and its share of self-influence."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from headwater.capture import Capture, PlanChanged, borrowed
from headwater.capture.borrowed import evaluate
from headwater.check.comparison import parts_of
from headwater.estimators.stored.writing import gradient_pass
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.estimators import TracInCPBase
    from headwater.estimators.streamed import Streamed


@dataclass(frozen=True)
class CheckpointFacts:
    """A checkpoint, as some training examples see it.

    Attributes:
        name: what it is called: its file.
        rates: its learning rate; several, where parameters have their own.
        loss: the examples' mean loss there.
        share: its share of their self-influence over all checkpoints, 0 to 1.
    """

    name: str
    rates: tuple[float, ...]
    loss: float
    share: float


def checkpoint_facts(estimator: TracInCPBase, places: Sequence[int]) -> list[CheckpointFacts]:
    """Every checkpoint's rate, loss and share, in order.

    Args:
        estimator: a `TracInCP` or `TracInCPFast`.
        places: of the training examples to look at.
    """
    parts = parts_of(estimator).with_form(None)
    norms: list[float] | None = None
    capture = Capture(parts.net, parts.selection)
    while norms is None:
        with suppress(PlanChanged):
            norms = _squared_norms(parts, capture, places)
    found = _without_shares(parts, places)
    terms = [one.share * norm for one, norm in zip(found, norms, strict=True)]
    total = sum(terms) or 1.0
    return [
        CheckpointFacts(one.name, one.rates, one.loss, term / total)
        for one, term in zip(found, terms, strict=True)
    ]


def _squared_norms(parts: Streamed, capture: Capture, places: Sequence[int]) -> list[float]:
    """By checkpoint, the sum of the examples' squared gradient norms."""
    data = parts.data.subset(places)
    passing = gradient_pass(parts, capture, data, parts.task, kind="training example")
    totals = [0.0] * (parts.series.count or 0)
    with borrowed(parts.net), passing.begun(batch_size=None, skip=0) as (_, recorded):
        for batch in recorded:
            for place, gradients in enumerate(batch.by_checkpoint):
                totals[place] += float(gradients.squared_norm().sum())
    return totals


def _without_shares(parts: Streamed, places: Sequence[int]) -> list[CheckpointFacts]:
    """The facts, with what norms are still to be multiplied by in the place of shares."""
    data, found = parts.data.subset(places), []
    device = next(parts.net.parameters()).device
    with borrowed(parts.net), closing(parts.series.visit()) as visits, torch.no_grad():
        for loaded in visits:
            evaluate(parts.net)
            total, count = 0.0, 0
            for batch in data.batches(data.batch_size or len(places)):
                summed = parts.task.summed(parts.net, borrow(batch, device))
                total, count = total + float(summed.total), count + summed.size
            by_parameter = getattr(loaded, "by_parameter", None)
            rates = (loaded.rate,) if by_parameter is None else tuple(set(by_parameter.values()))
            # Rates of parameters are in their gradients already.
            loss = total / max(1, count)
            found.append(CheckpointFacts(loaded.name, tuple(sorted(rates)), loss, loaded.rate))
    return found
