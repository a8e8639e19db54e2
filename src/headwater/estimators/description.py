"""An estimator in facts, for the tables that its scores go into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.estimators.loss_name import loss_name
from headwater.estimators.store_place import names_store, place_of
from headwater.estimators.vectors import VectorParts
from headwater.version import __version__

if TYPE_CHECKING:
    from headwater.estimators.streamed import Streamed
    from headwater.estimators.tracincp_base import TracInCPBase


def described(
    estimator: TracInCPBase, *, store: Path | str | None = None, count: int | None = None
) -> dict[str, Any]:
    """By name, what an estimator's scores are computed by, and of what; ready for JSON.

    Args:
        estimator: the estimator.
        store: a store that answers in place of its own data.
        count: how many examples are in that.
    """
    source = estimator.influence_src_dataset
    if names_store(source):
        store = place_of(source)
    parts: Streamed | None = getattr(estimator, "_streamed", None)
    facts = {
        "name": estimator.get_name(),
        "model": type(estimator.model).__name__,
        "loss": loss_name(estimator._loss_task),
        "curvature": _curvature(estimator),
        "checkpoints": estimator._series.count,
        "examples": estimator._data.count if store is None else count,
        "store": None if store is None else str(store),
        "parameters": None if parts is None else _parameters(parts),
        "form": _form(parts),
        "headwater": __version__,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _form(parts: Streamed | None) -> str | None:
    if isinstance(parts, VectorParts):
        return repr(parts.vectors)
    return None if parts is None or parts.form is None else repr(parts.form)


def _curvature(estimator: TracInCPBase) -> str | None:
    found = getattr(estimator, "curvature", None)
    return None if found is None else repr(found)


def _parameters(parts: Streamed) -> int:
    """How many numbers a gradient has."""
    parameters = dict(parts.net.named_parameters())
    return sum(parameters[name].numel() for name in parts.selection)
