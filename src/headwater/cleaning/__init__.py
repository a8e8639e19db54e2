"""Wrong labels: which training examples to look at, what was decided, and the cleaned set."""

from headwater.cleaning.cleaned import Cleaned, CleanedDataset, apply
from headwater.cleaning.decisions import Decision, Decisions
from headwater.cleaning.find import find_suspects, suspects_of
from headwater.cleaning.fingerprint import fingerprint_of
from headwater.cleaning.labels import all_labels
from headwater.cleaning.retrained import Retrained, accuracy, retrain
from headwater.cleaning.suspects import Suspects

__all__ = [
    "Cleaned",
    "CleanedDataset",
    "Decision",
    "Decisions",
    "Retrained",
    "Suspects",
    "accuracy",
    "all_labels",
    "apply",
    "find_suspects",
    "fingerprint_of",
    "retrain",
    "suspects_of",
]
