"""An estimator in facts, for the tables that its scores go into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.estimators.loss_name import loss_name
from headwater.version import __version__

if TYPE_CHECKING:
    from headwater.estimators.tracincp_base import TracInCPBase


def described(estimator: TracInCPBase) -> dict[str, Any]:
    """By name, what an estimator's scores are computed by, and of what; ready for JSON."""
    source = estimator.influence_src_dataset
    stored = isinstance(source, (str, Path))
    parts = getattr(estimator, "_streamed", None)
    facts: dict[str, Any] = {
        "name": estimator.get_name(),
        "model": type(estimator.model).__name__,
        "loss": loss_name(estimator._loss_task),
        "checkpoints": estimator._series.count,
        "examples": None if stored else estimator._data.count,
        "store": str(source) if stored else None,
        "parameters": _parameters(estimator),
        "form": repr(parts.form) if parts is not None and parts.form is not None else None,
        "headwater": __version__,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _parameters(estimator: TracInCPBase) -> int | None:
    """How many numbers a gradient has."""
    parts = getattr(estimator, "_streamed", None)
    if parts is None:
        return None
    parameters = dict(parts.net.named_parameters())
    return sum(parameters[name].numel() for name in parts.selection)
