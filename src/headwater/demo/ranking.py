"""Finding wrong labels: how many of them stand at the top of a ranking of the training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from headwater.demo.training import load_checkpoint

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from headwater.demo.data import NoisyDigits


@dataclass(frozen=True)
class Detection:
    """How fast one way of ranking the training set brings up the wrong labels.

    Args:
        name: What the training set is ranked by.
        found: Wrong labels among the first 1, 2, ... N examples checked; for a random order the
            number to expect, which need not be whole.
    """

    name: str
    found: Float[Tensor, " N"]

    def found_at(self, share: float) -> float:
        """Return how many wrong labels stand in the first `share` (0 to 1) of the ranking."""
        return self.found[round(share * len(self.found)) - 1].item()

    def recall_at(self, share: float) -> float:
        """Return `found_at` as a share of all wrong labels."""
        return self.found_at(share) / self.found[-1].item()


def by_score(name: str, scores: Float[Tensor, " N"], flipped: Bool[Tensor, " N"]) -> Detection:
    """Return the detection by a score of which high values are suspicious."""
    return Detection(name, flipped[ranking(scores)].cumsum(dim=0).double())


def in_random_order(flipped: Bool[Tensor, " N"]) -> Detection:
    """Return what to expect of an order that knows nothing: an equal share of all."""
    checked = torch.arange(1, len(flipped) + 1, dtype=torch.float64)
    return Detection("random order (expected)", checked * flipped.double().mean())


def ranking(scores: Float[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Return the examples from the highest score to the lowest; ties go to the lower index."""
    return scores.argsort(descending=True, stable=True)


@torch.no_grad()
def training_losses(
    model: nn.Module, data: NoisyDigits, checkpoints: Sequence[Path]
) -> Float[Tensor, "C N"]:
    """Return each training example's loss under its given label, at every checkpoint.

    The model is left with the weights of the last one.
    """
    losses = []
    for checkpoint in checkpoints:
        load_checkpoint(checkpoint, model)
        predictions = model(data.train_images)
        losses.append(nn.functional.cross_entropy(predictions, data.given_labels, reduction="none"))
    return torch.stack(losses)
