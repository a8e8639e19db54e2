"""Inverse curvature of the training loss, estimated once and applied to gradients."""

from headwater.curvature.curvature import Curvature, Inverse
from headwater.curvature.damping import Damping, RelativeDamping
from headwater.curvature.ekfac import EKFAC, KFAC
from headwater.curvature.preconditioned import (
    PreconditionedScores,
    PreconditionedSelfInfluence,
    SummedPreconditionedScores,
)
from headwater.curvature.training_pass import TrainingPass

__all__ = [
    "EKFAC",
    "KFAC",
    "Curvature",
    "Damping",
    "Inverse",
    "PreconditionedScores",
    "PreconditionedSelfInfluence",
    "RelativeDamping",
    "SummedPreconditionedScores",
    "TrainingPass",
]
