"""Estimators that follow a training run back, update by update."""

from headwater.estimators.unrolling.exact_unrolling import ExactUnrolling
from headwater.estimators.unrolling.smoothness import Smoothness
from headwater.estimators.unrolling.tracin_ideal import TracInIdeal

__all__ = ["ExactUnrolling", "Smoothness", "TracInIdeal"]
