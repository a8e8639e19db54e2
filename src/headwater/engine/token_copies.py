"""Texts as one example per token: copies of a text that differ in which token has the loss."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from headwater.engine.training_data import TrainingData
from headwater.tasks.batch import map_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jaxtyping import Int
    from torch import nn

    from headwater.tasks import TokenTask


class TokenCopies(TrainingData):
    """Each text once per token that has a loss, with the labels of all its other tokens left out.

    The losses of a transformer's tokens go through the same activations, so that no single
    backward pass keeps their gradients apart; as examples of their own they are.

    Args:
        texts: a batch of one for each.
        task: reads them.
        model: makes of labels what it makes of them before any is left out.
        batch_size: copies per batch; "auto" leaves it to the engine.

    Raises:
        BatchError: no label of a text counts.

    Attributes:
        targets: the label of each token that has a loss, by text.
        places: where these tokens are, by text.
        no_label: what stands where a token has no loss.
    """

    def __init__(
        self,
        texts: Sequence[Any],
        task: TokenTask,
        model: nn.Module,
        batch_size: int | Literal["auto"],
    ) -> None:
        super().__init__([], batch_size)
        for text in texts:
            task.refuse_unlabelled(text)
        self._task = task
        self.no_label = task.ignore_index
        self._texts = [task.completed(model, text) for text in texts]
        self.targets: list[Int[Tensor, " S"]] = [task.targets(text)[0] for text in self._texts]
        self.places: list[Int[Tensor, " T"]] = [
            (targets != self.no_label).nonzero().flatten() for targets in self.targets
        ]

    @property
    def count(self) -> int:
        return sum(len(places) for places in self.places)

    def batches(self, batch_size: int) -> Iterator[Any]:
        for text, targets, places in zip(self._texts, self.targets, self.places, strict=True):
            for some in places.split(batch_size):
                yield self._copies(text, targets, some)

    def number_of_batches(self, batch_size: int) -> int:
        return sum(-(-len(places) // batch_size) for places in self.places)

    def alone(self, place: int) -> Any | None:
        return next(islice(self.batches(1), place, None), None)

    def sample(self, size: int) -> Any | None:
        # Of the longest text, for which a batch has to fit.
        longest = max(range(len(self._texts)), key=lambda i: len(self.targets[i]), default=None)
        if longest is None:
            return None
        some = self.places[longest][:size]
        return self._copies(self._texts[longest], self.targets[longest], some)

    def _copies(
        self, text: Mapping[str, Any], targets: Int[Tensor, " S"], places: Int[Tensor, " T"]
    ) -> dict[str, Any]:
        count = len(places)

        def repeated(leaf: Any) -> Any:
            if isinstance(leaf, Tensor) and leaf.dim() and leaf.shape[0] == 1:
                return leaf.expand(count, *leaf.shape[1:])
            return leaf * count if isinstance(leaf, list) and len(leaf) == 1 else leaf

        labels = targets.new_full((count, len(targets)), self.no_label)
        labels[torch.arange(count), places] = targets[places]
        return {**map_leaves(dict(text), repeated), self._task.labels: labels}
