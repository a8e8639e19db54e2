"""Explaining predictions: the training images that helped and hurt a test image most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Int

    from headwater import KMostInfluentialResults, TracInCP
    from headwater.demo.data import NoisyDigits


@dataclass(frozen=True)
class Influence:
    """One training example's influence score on one query."""

    index: int
    score: float


@dataclass(frozen=True)
class Explanation:
    """One test image, what the model made of it, and the training images behind that.

    Args:
        query: Index of the test image.
        predicted_label: The model's answer at the last checkpoint.
        true_label: What the image shows; the loss that is explained is the loss under this label.
        proponents: Training on them lowered that loss most; strongest first.
        opponents: Training on them raised it most; strongest first.
    """

    query: int
    predicted_label: int
    true_label: int
    proponents: list[Influence]
    opponents: list[Influence]


@torch.no_grad()
def predicted_labels(model: nn.Module, data: NoisyDigits) -> Int[Tensor, " M"]:
    """Return the model's answers for the test images."""
    labels: Tensor = model(data.test_images).argmax(dim=1)
    return labels


@torch.no_grad()
def choose_queries(model: nn.Module, data: NoisyDigits, count: int) -> Int[Tensor, " Q"]:
    """Return the test images to explain: misclassified ones first, then by descending loss."""
    predictions = model(data.test_images)
    losses = nn.functional.cross_entropy(predictions, data.test_labels, reduction="none")
    by_loss = losses.argsort(descending=True, stable=True)
    is_right = predictions.argmax(dim=1) == data.test_labels
    return by_loss[is_right[by_loss].int().argsort(stable=True)][:count]


def explain(
    tracin: TracInCP,
    model: nn.Module,
    data: NoisyDigits,
    queries: Int[Tensor, " Q"],
    *,
    k: int,
    show_progress: bool = False,
) -> list[Explanation]:
    """Return one explanation per query, in their order.

    Args:
        tracin: Attributes to the training set of `data`.
        model: With the weights whose answers are to be explained.
        data: Where the test images are.
        queries: Indices of test images.
        k: Proponents, and opponents, to name for each.
        show_progress: Whether bars are shown on stderr.
    """
    inputs, targets = data.test_images[queries], data.test_labels[queries]
    predicted = predicted_labels(model, data)[queries]
    proponents, opponents = (
        tracin.influence(inputs, targets, k=k, proponents=wanted, show_progress=show_progress)
        for wanted in (True, False)
    )
    return [
        Explanation(
            query=int(query),
            predicted_label=int(predicted[row]),
            true_label=int(targets[row]),
            proponents=_row(proponents, row),
            opponents=_row(opponents, row),
        )
        for row, query in enumerate(queries)
    ]


def _row(results: KMostInfluentialResults | Tensor, row: int) -> list[Influence]:
    indices, scores = (column[row].tolist() for column in results)
    return [Influence(index, score) for index, score in zip(indices, scores, strict=True)]
