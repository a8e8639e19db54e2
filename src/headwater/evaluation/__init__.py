"""Judging influence scores by what retraining does."""

from headwater.evaluation.bank import RetrainedBank
from headwater.evaluation.by_function import FunctionRetraining
from headwater.evaluation.by_recipe import RecipeRetraining
from headwater.evaluation.ceiling import agreement_of_seeds, noise_ceiling
from headwater.evaluation.convex import ConvexRetraining
from headwater.evaluation.interval import Interval
from headwater.evaluation.judging import (
    JudgedByDetection,
    JudgedByLDS,
    judge_by_detection,
    judge_by_lds,
)
from headwater.evaluation.lds import LDS, linear_datamodeling_score
from headwater.evaluation.leaving_out import Agreement, Removals, block_removal, leave_one_out
from headwater.evaluation.methods import METHODS, Method, methods_named
from headwater.evaluation.mislabelled import Detection, FlippedLabels, detection, flip_labels
from headwater.evaluation.recipe import Recipe
from headwater.evaluation.reference import reference_run
from headwater.evaluation.removal_curve import RemovalCurve, removal_curve
from headwater.evaluation.retraining import Retraining
from headwater.evaluation.retrieval import mean_reciprocal_rank, recall_at_k
from headwater.evaluation.run import Run
from headwater.evaluation.scores_given import scores_matrix
from headwater.evaluation.subsets import Subsets
from headwater.evaluation.trained_run import TrainedRun
from headwater.evaluation.tuning import best_on_tuning_bank

__all__ = [
    "LDS",
    "METHODS",
    "Agreement",
    "ConvexRetraining",
    "Detection",
    "FlippedLabels",
    "FunctionRetraining",
    "Interval",
    "JudgedByDetection",
    "JudgedByLDS",
    "Method",
    "Recipe",
    "RecipeRetraining",
    "RemovalCurve",
    "Removals",
    "RetrainedBank",
    "Retraining",
    "Run",
    "Subsets",
    "TrainedRun",
    "agreement_of_seeds",
    "best_on_tuning_bank",
    "block_removal",
    "detection",
    "flip_labels",
    "judge_by_detection",
    "judge_by_lds",
    "leave_one_out",
    "linear_datamodeling_score",
    "mean_reciprocal_rank",
    "methods_named",
    "noise_ceiling",
    "recall_at_k",
    "reference_run",
    "removal_curve",
    "scores_matrix",
]
