"""The named estimators: each picks its parts."""

from headwater.estimators.baselines import (
    BM25,
    RandomScores,
    RepresentationSimilarity,
    TrainingLoss,
)
from headwater.estimators.data_influence import DataInfluence
from headwater.estimators.grad_cos import GradCos
from headwater.estimators.grad_dot import GradDot
from headwater.estimators.influence_function import InfluenceFunction
from headwater.estimators.less import LESS
from headwater.estimators.logra import LoGra
from headwater.estimators.results import KMostInfluentialResults
from headwater.estimators.source import SOURCE
from headwater.estimators.stored import GradientStore, StoreTopK
from headwater.estimators.token_influence import TokenInfluence
from headwater.estimators.tracin_adam import TracInAdam
from headwater.estimators.tracincp import TracInCP
from headwater.estimators.tracincp_base import TracInCPBase
from headwater.estimators.tracincp_fast import TracInCPFast
from headwater.estimators.tracincp_fast_rand_proj import TracInCPFastRandProj
from headwater.estimators.trak import TRAK
from headwater.estimators.unrolling import ExactUnrolling, Smoothness, TracInIdeal

__all__ = [
    "BM25",
    "LESS",
    "SOURCE",
    "TRAK",
    "DataInfluence",
    "ExactUnrolling",
    "GradCos",
    "GradDot",
    "GradientStore",
    "InfluenceFunction",
    "KMostInfluentialResults",
    "LoGra",
    "RandomScores",
    "RepresentationSimilarity",
    "Smoothness",
    "StoreTopK",
    "TokenInfluence",
    "TracInAdam",
    "TracInCP",
    "TracInCPBase",
    "TracInCPFast",
    "TracInCPFastRandProj",
    "TracInIdeal",
    "TrainingLoss",
]
