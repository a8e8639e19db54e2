"""A pass over some examples that hands on their vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.engine import memory_budget_bytes
from headwater.engine.gradient_pass import GradientPass

if TYPE_CHECKING:
    from headwater.capture import Capture
    from headwater.engine import TrainingData
    from headwater.estimators.vectors.parts import VectorParts
    from headwater.tasks import Task


def vector_pass(
    parts: VectorParts, capture: Capture, data: TrainingData, task: Task, *, kind: str
) -> GradientPass:
    """The pass.

    Args:
        parts: an estimator's.
        capture: of its model.
        data: the examples.
        task: what is differentiated for each.
        kind: "query" or "training example".
    """
    return GradientPass(
        parts.net,
        capture,
        parts.series,
        data,
        task,
        projection=parts.projection_for(kind),
        budget=memory_budget_bytes(parts.memory_budget),
        extra_numbers=parts.vectors.dim,
        kind=kind,
    )
