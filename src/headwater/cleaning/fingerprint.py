"""What binds decisions to the training data that they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.engine import TrainingData
from headwater.engine.fingerprint import data_fingerprint

if TYPE_CHECKING:
    from headwater.estimators import TracInCPBase

_SAMPLE = 16


def fingerprint_of(dataset: Any) -> str:
    """A digest of the number of examples and of 16 of them, inputs and labels, at even distances.

    Args:
        dataset: a Dataset or DataLoader, or the estimator that has it.

    Raises:
        ShuffledLoaderError: the loader shuffles.
        InputError: it is of the wrong kind.
    """
    found: TracInCPBase | Any = getattr(dataset, "influence_src_dataset", dataset)
    data = TrainingData(found, "auto")
    return data_fingerprint(data.count, data.spread(_SAMPLE))
