"""Checkpoints times batches: scores stream out in blocks of columns, in bounded memory."""

from headwater.engine.budget import memory_budget_bytes
from headwater.engine.quantity import PairScores, Quantity, SelfInfluence
from headwater.engine.run import Run
from headwater.engine.training_data import TrainingData

__all__ = [
    "PairScores",
    "Quantity",
    "Run",
    "SelfInfluence",
    "TrainingData",
    "memory_budget_bytes",
]
