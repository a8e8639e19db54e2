"""Inverse curvature of the training loss, estimated once and applied to gradients."""

from headwater.curvature.astra import ASTRA
from headwater.curvature.curvature import Curvature, Inverse
from headwater.curvature.damping import Damping, RelativeDamping
from headwater.curvature.ekfac import EKFAC, KFAC
from headwater.curvature.exact import Exact
from headwater.curvature.gauss_newton_cg import GaussNewtonCG
from headwater.curvature.preconditioned import (
    PreconditionedScores,
    PreconditionedSelfInfluence,
    SummedPreconditionedScores,
)
from headwater.curvature.training_pass import TrainingPass

__all__ = [
    "ASTRA",
    "EKFAC",
    "KFAC",
    "Curvature",
    "Damping",
    "Exact",
    "GaussNewtonCG",
    "Inverse",
    "PreconditionedScores",
    "PreconditionedSelfInfluence",
    "RelativeDamping",
    "SummedPreconditionedScores",
    "TrainingPass",
]
