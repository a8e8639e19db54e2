"""Estimators' answers from gradients that are kept on disk."""

from headwater.estimators.stored.answers import StoreTopK
from headwater.estimators.stored.gradient_store import GradientStore

__all__ = ["GradientStore", "StoreTopK"]
