"""Estimators' answers from gradients that are kept on disk."""

from headwater.estimators.stored.answers import StoreTopK
from headwater.estimators.stored.gradient_store import GradientStore
from headwater.estimators.stored.store_files import StoreFiles

__all__ = ["GradientStore", "StoreFiles", "StoreTopK"]
