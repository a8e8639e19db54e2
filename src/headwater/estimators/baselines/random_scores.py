"""RandomScores: what chance alone reaches."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Any

import torch

from headwater.engine import TrainingData
from headwater.errors import InputError
from headwater.estimators.baselines.without_model import WithoutModel
from headwater.results import Wording
from headwater.tasks.batch import leading_size

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class RandomScores(WithoutModel):
    """Independent standard normal scores, the floor that any method has to leave below it.

    The same for the same seed: a query's row depends on its place among the queries, and on nothing
    else. Drawn from a generator of its own.

    Args:
        influence_src_dataset: the training examples, of which only the number counts.
        seed: picks the scores.

    Raises:
        InputError: the number of training examples can't be told, or `seed` is no int.
    """

    _wording = Wording(
        formula="influence(q, n): drawn at random, standard normal",
        unit="none",
        sign="none: it is chance",
        own_formula="self_influence(n): drawn at random, standard normal",
        own_unit="none",
        own_sign="none: it is chance",
    )

    def __init__(self, influence_src_dataset: Any, *, seed: int = 0) -> None:
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise InputError(f"seed is {seed!r}; expected an int")
        count = TrainingData(influence_src_dataset, "auto").count
        if count is None:
            raise InputError(
                "influence_src_dataset is a stream, whose number of examples isn't known; pass a "
                "Dataset, or a list"
            )
        self.influence_src_dataset = influence_src_dataset
        self.seed = seed
        self._count = count

    def _matrix(self, inputs: Any) -> Float[Tensor, "Q N"]:
        rows = 1 if inputs is None else leading_size(inputs)
        if rows is None and isinstance(inputs, Sized):
            rows = len(inputs)
        if not rows:
            raise InputError("the number of queries can't be told, or is zero")
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(rows, self._count, generator=generator)
