"""Batches of the training data, put together again from the places of their examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset, default_collate

from headwater.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float


class Examples:
    """A dataset, read by place.

    Args:
        dataset: the training examples; the same ones in the same order as in training.
        collate: makes a batch of a list of them, as in training; None stacks tensors and numbers.

    Raises:
        InputError: examples can't be picked from it.
    """

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any] | None) -> None:
        if isinstance(dataset, DataLoader):
            raise InputError(
                "dataset is a DataLoader; expected the Dataset that it reads, of which the run's "
                "batches are put together again: loader.dataset, with collate_fn=loader.collate_fn"
            )
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise InputError(
                f"dataset is a {type(dataset).__name__}; expected a Dataset with a length, of "
                f"which examples can be picked by place"
            )
        self.count = len(dataset)
        self._dataset = dataset
        self.collate = default_collate if collate is None else collate
        self._stacks = (
            type(dataset) is TensorDataset
            and collate is None
            and all(type(tensor) is Tensor for tensor in dataset.tensors)
        )

    def batch(self, places: Sequence[int]) -> Any:
        """The batch of the examples in these places, in their order.

        Raises:
            InputError: there is no such place.
        """
        highest = max(places)
        if highest >= self.count:
            raise InputError(
                f"the run has trained on example {highest}, and the dataset has {self.count} "
                f"examples; pass the dataset that it was trained on"
            )
        if self._stacks:
            chosen = torch.tensor(places)
            return [tensor[chosen] for tensor in self._dataset.tensors]
        return self.collate([self._dataset[place] for place in places])


def weights_of(
    example_weights: Float[Tensor, " N"] | None, places: Sequence[int]
) -> Float[Tensor, " B"] | None:
    """The weights of a batch's examples; None where all count once."""
    return None if example_weights is None else example_weights[list(places)]
