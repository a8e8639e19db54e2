"""Methods that make a vector of every example at each checkpoint, and scores of these."""

from headwater.estimators.vectors.answers import ComputedVectors, VectorAnswers
from headwater.estimators.vectors.gram import GramScoring
from headwater.estimators.vectors.maps import AdamMap, CreditedMap
from headwater.estimators.vectors.normalised import NormalisedScoring
from headwater.estimators.vectors.parts import VectorForm, VectorParts

__all__ = [
    "AdamMap",
    "ComputedVectors",
    "CreditedMap",
    "GramScoring",
    "NormalisedScoring",
    "VectorAnswers",
    "VectorForm",
    "VectorParts",
]
