"""The named estimators: each picks its parts."""

from headwater.estimators.data_influence import DataInfluence
from headwater.estimators.influence_function import InfluenceFunction
from headwater.estimators.results import KMostInfluentialResults
from headwater.estimators.source import SOURCE
from headwater.estimators.stored import GradientStore, StoreTopK
from headwater.estimators.token_influence import TokenInfluence
from headwater.estimators.tracincp import TracInCP
from headwater.estimators.tracincp_base import TracInCPBase
from headwater.estimators.tracincp_fast import TracInCPFast
from headwater.estimators.tracincp_fast_rand_proj import TracInCPFastRandProj
from headwater.estimators.unrolling import ExactUnrolling, Smoothness, TracInIdeal

__all__ = [
    "SOURCE",
    "DataInfluence",
    "ExactUnrolling",
    "GradientStore",
    "InfluenceFunction",
    "KMostInfluentialResults",
    "Smoothness",
    "StoreTopK",
    "TokenInfluence",
    "TracInCP",
    "TracInCPBase",
    "TracInCPFast",
    "TracInCPFastRandProj",
    "TracInIdeal",
]
