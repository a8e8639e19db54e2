"""Checkpoints times batches: scores stream out in blocks of columns, in bounded memory."""

from headwater.engine.budget import memory_budget_bytes
from headwater.engine.coordinate_weights import WeightedNorms, WeightedPairs
from headwater.engine.cosines import Cosines, SummedCosines
from headwater.engine.quantity import PairScores, Quantity, SelfInfluence
from headwater.engine.queries import OneBatch, Queries, WholeBatches
from headwater.engine.run import Run
from headwater.engine.summed_scores import SummedScores
from headwater.engine.training_data import TrainingData
from headwater.engine.work_plan import WorkPlan

__all__ = [
    "Cosines",
    "OneBatch",
    "PairScores",
    "Quantity",
    "Queries",
    "Run",
    "SelfInfluence",
    "SummedCosines",
    "SummedScores",
    "TrainingData",
    "WeightedNorms",
    "WeightedPairs",
    "WholeBatches",
    "WorkPlan",
    "memory_budget_bytes",
]
