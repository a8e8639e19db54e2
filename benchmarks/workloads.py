"""The workloads that methods are compared on: a model, its checkpoints, made-up examples.

No value in the examples changes how long the arithmetic takes, so they are drawn at random; what
they are worth is measured elsewhere, by retraining.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchmarks import models

if TYPE_CHECKING:
    from collections.abc import Callable

Examples = tuple[Tensor, Tensor]


def cross_entropy(predictions: Tensor, targets: Tensor) -> Tensor:
    """A loss per example; of sequences the sum over positions."""
    if predictions.dim() == 2:
        return nn.functional.cross_entropy(predictions, targets, reduction="none")
    losses = nn.functional.cross_entropy(predictions.mT, targets, reduction="none")
    return losses.sum(dim=1)


@dataclass(frozen=True)
class Workload:
    """What is computed: influence of N training examples on Q queries over C checkpoints.

    Attributes:
        name: as in the tables.
        says: the model in words.
        build: makes the model.
        examples: makes that many examples.
        training: N.
        queries: Q.
        checkpoints: C.
        final_layer: the name of the only layer that counts; None where all do.
    """

    name: str
    says: str
    build: Callable[[], nn.Module]
    examples: Callable[[int], Examples]
    training: int
    queries: int
    checkpoints: int
    final_layer: str | None = None

    @property
    def rates(self) -> list[float]:
        """The learning rates: no two alike."""
        return [0.1 * 0.7**index for index in range(self.checkpoints)]


def changed(
    workload: Workload,
    *,
    training: int | None = None,
    queries: int | None = None,
    checkpoints: int | None = None,
    width: int | None = None,
) -> Workload:
    """The workload with other numbers; a width only for models that are built with one."""
    build = workload.build if width is None else functools.partial(workload.build, width=width)  # type: ignore[call-arg]
    return replace(
        workload,
        build=build,
        training=training or workload.training,
        queries=queries or workload.queries,
        checkpoints=checkpoints or workload.checkpoints,
    )


@dataclass(frozen=True)
class Case:
    """A workload's model, weights and examples, the same in every process."""

    workload: Workload
    model: nn.Module
    states: list[dict[str, Tensor]]
    training: Examples
    queries: Examples


def case(workload: Workload, *, training: int | None = None) -> Case:
    """The workload, or its first so many training examples.

    Weights are drawn, not trained: neither their values nor the loss changes the time taken.
    """
    torch.manual_seed(7)
    states = [
        {name: tensor.clone() for name, tensor in workload.build().state_dict().items()}
        for _ in range(workload.checkpoints)
    ]
    inputs, targets = workload.examples(workload.training)
    count = training or workload.training
    return Case(
        workload,
        workload.build().eval(),
        states,
        (inputs[:count], targets[:count]),
        workload.examples(workload.queries),
    )


def vectors(count: int) -> Examples:
    return torch.rand(count, 784), torch.randint(10, (count,))


def grey_images(count: int) -> Examples:
    return torch.rand(count, 1, 28, 28), torch.randint(10, (count,))


def colour_images(count: int) -> Examples:
    return torch.rand(count, 3, 32, 32), torch.randint(10, (count,))


def next_tokens(count: int) -> Examples:
    tokens = torch.randint(1000, (count, 129))
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def labelled_tokens(count: int) -> Examples:
    return torch.randint(1000, (count, 64)), torch.randint(4, (count,))


MLP = "MLP 784-256-128-10"
CNN = "CNN: conv 3x3 32, conv 3x3 64, pool, fc 128, fc 10 on 28x28"

WORKLOADS = {
    w.name: w
    for w in (
        Workload("W1", MLP, models.mlp, vectors, 10_000, 100, 5),
        Workload("W2", CNN, models.cnn, grey_images, 5_000, 50, 3),
        Workload(
            "W3",
            "GPT-style decoder: 4 layers, width 128, 4 heads, 128 tokens, vocabulary 1,000",
            models.Decoder,
            next_tokens,
            1_000,
            20,
            2,
        ),
        Workload(
            "W4",
            f"last layer of the {MLP}",
            models.mlp,
            vectors,
            50_000,
            1_000,
            5,
            final_layer="4",
        ),
        Workload(
            "W4c",
            "last layer of the CNN",
            models.cnn,
            grey_images,
            5_000,
            200,
            5,
            final_layer="8",
        ),
        Workload(
            "W5",
            "ResNet-18 of width 16 with GroupNorm on 32x32",
            models.resnet,
            colour_images,
            1_000,
            20,
            2,
        ),
        Workload(
            "W6",
            "LSTM classifier: embedding 64, hidden 128, 64 tokens",
            models.LSTMClassifier,
            labelled_tokens,
            2_000,
            20,
            2,
        ),
        Workload(
            "W7",
            "encoder classifier of nn.TransformerEncoder: 2 layers, width 128, 4 heads, 64 tokens",
            models.EncoderClassifier,
            labelled_tokens,
            1_000,
            20,
            2,
        ),
    )
}
