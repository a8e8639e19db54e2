"""Batches of examples as questions to an estimator, and some examples of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwater.tasks.batch import map_leaves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.estimators import TracInCPBase


def arguments_of(estimator: TracInCPBase, batch: Any) -> dict[str, Any]:
    """The arguments `inputs` and `targets` of an estimator for a batch as its data has them."""
    if estimator._given_task is not None or not isinstance(batch, (tuple, list)):
        return {"inputs": batch}
    *inputs, targets = batch
    return {"inputs": tuple(inputs), "targets": targets if estimator.loss_fn is not None else None}


def picked(batch: Any, places: Sequence[int], *, size: int) -> Any:
    """The examples in some places of a batch of `size`, as a batch."""
    index = torch.tensor(list(places), dtype=torch.long)

    def pick(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[0] == size:
            return leaf[index.to(leaf.device)]
        if isinstance(leaf, list) and len(leaf) == size:
            return [leaf[place] for place in places]
        return leaf

    return map_leaves(batch, pick)
