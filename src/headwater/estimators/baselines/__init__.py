"""What a method has to beat: scores that need no gradient."""

from headwater.estimators.baselines.bm25 import BM25
from headwater.estimators.baselines.random_scores import RandomScores
from headwater.estimators.baselines.representation import RepresentationSimilarity
from headwater.estimators.baselines.training_loss import TrainingLoss

__all__ = ["BM25", "RandomScores", "RepresentationSimilarity", "TrainingLoss"]
