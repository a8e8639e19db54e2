"""Embedding tables, bags of them, and position embeddings."""

from typing import Any

import torch
from torch import Tensor, nn

from .architecture import (
    Architecture,
    Inputs,
    both,
    cross_entropy,
    floats,
    ids,
    squared_error,
    token_cross_entropy,
)


def bag_of_words(**options: Any) -> nn.Module:
    """Four ids of a vocabulary of six per example: some repeat."""
    return nn.Sequential(nn.Embedding(6, 4, **options), nn.Flatten(), nn.Linear(16, 3))


class Bag(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(6, 4, **options)
        self.fc = nn.Linear(4, 3)

    def forward(self, ids: Tensor, weights: Tensor | None = None) -> Tensor:
        return self.fc(torch.tanh(self.bag(ids, per_sample_weights=weights)))


class BagWithOffsets(Bag):
    """All ids end to end, and where each bag starts."""

    def forward(self, ids: Tensor, weights: Tensor | None = None) -> Tensor:
        starts = torch.arange(len(ids)) * ids.shape[1]
        return self.fc(torch.tanh(self.bag(ids.flatten(), starts)))


class BagWithLearnedWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(6, 4, mode="sum")
        self.attention = nn.Embedding(6, 1)

    def forward(self, ids: Tensor) -> Tensor:
        weights = self.attention(ids).squeeze(-1).softmax(-1)
        return torch.tanh(self.bag(ids, per_sample_weights=weights))


class Positions(nn.Module):
    """A bare parameter is added to the tokens; a class token goes in front, as in a ViT."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Linear(2, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.position = nn.Parameter(torch.zeros(4, 4))
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.cat([self.token.expand(len(x), -1, -1), self.patch(x)], dim=1) + self.position
        h = h + torch.tanh(self.mix(h)).mean(1, keepdim=True)
        return self.head(torch.tanh(h[:, 0]))


class PositionTable(nn.Module):
    """`nn.Embedding` called with `arange(T)`: its output has no batch dimension."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 4)
        self.positions = nn.Embedding(length + 2, 4)
        self.head = nn.Linear(4, 6)

    def forward(self, ids: Tensor) -> Tensor:
        positions = self.positions(torch.arange(ids.shape[1], device=ids.device))
        return self.head(torch.tanh(self.words(ids) + positions))


class SeveralTables(nn.Module):
    """Categories and numbers in one row of a table, each category with its own embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Embedding(3, 2)
        self.shape = nn.Embedding(5, 3)
        self.fc = nn.Linear(9, 2)

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        columns = [self.colour(categories[:, 0] % 3), self.shape(categories[:, 1]), numbers]
        return self.fc(torch.tanh(torch.cat(columns, dim=1)))


IDS = ids(6, 4)


def bag(name: str, module: type[nn.Module] = Bag, inputs: Inputs = IDS, **options: Any):
    return Architecture(name, lambda: module(**options), inputs, squared_error)


EMBEDDED = [
    Architecture("embedding", bag_of_words, IDS, cross_entropy),
    Architecture("embedding_of_one_id", lambda: nn.Embedding(6, 4), ids(6), queries=2),
    Architecture("embedding_with_padding", lambda: bag_of_words(padding_idx=2), IDS),
    Architecture("embedding_with_sparse_gradients", lambda: bag_of_words(sparse=True), IDS),
    Architecture("embedding_with_max_norm", lambda: bag_of_words(max_norm=0.8), IDS),
    Architecture("embedding_of_two_dimensions", lambda: nn.Embedding(6, 3), ids(6, 2, 2)),
    bag("embedding_bag_sum", mode="sum"),
    bag("embedding_bag_mean", mode="mean"),
    bag("embedding_bag_max", mode="max"),
    bag("embedding_bag_mean_with_padding", mode="mean", padding_idx=1),
    bag("embedding_bag_sum_weighted", inputs=both(IDS, floats(4)), mode="sum"),
    bag("embedding_bag_with_offsets", BagWithOffsets, mode="mean"),
    bag("embedding_bag_sparse", mode="sum", sparse=True),
    Architecture("embedding_bag_with_learned_weights", BagWithLearnedWeights, IDS),
    Architecture("position_parameter_and_class_token", Positions, floats(3, 2), cross_entropy),
    Architecture("position_table", lambda: PositionTable(4), IDS, token_cross_entropy),
    Architecture(
        "position_table_as_long_as_a_batch",
        lambda: PositionTable(3),
        ids(6, 3),
        token_cross_entropy,
    ),
    Architecture("several_tables", SeveralTables, both(ids(5, 2), floats(4))),
]
