"""Models inside which rows are not examples in the loader's order."""

import torch
from torch import Tensor, nn

from .architecture import Architecture, both, cross_entropy, floats, ids


class ExampleMajor(nn.Module):
    """`(B * S, I)`: the positions of an example lie together."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 4)
        self.fc2 = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.fc2(torch.tanh(self.fc1(x.reshape(-1, x.shape[-1]))))
        return flat.reshape(len(x), -1, 3)


class SequenceMajor(ExampleMajor):
    """`(S * B, I)`: the examples of a position lie together."""

    def forward(self, x: Tensor) -> Tensor:
        flat = super().forward(x.transpose(0, 1))
        return flat.transpose(0, 1)


class SequenceFirst(ExampleMajor):
    """`(S, B, I)`: with S = B the leading size tells nothing."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc2(torch.tanh(self.fc1(x.transpose(0, 1))))
        return h.transpose(0, 1)


class SortedInside(nn.Module):
    """Sorted by a key of the example, and sorted back at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 4)
        self.norm = nn.LayerNorm(4)
        self.fc2 = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        order = x[:, 0].argsort(descending=True)
        h = self.fc1(x[order])
        return self.fc2(torch.tanh(self.norm(h[order.argsort()])))


class Reversed(nn.Module):
    """Upside down inside: a permutation that batches of one can't show."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.fc = nn.Linear(4, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.embed(ids.flip(0)))).flip(0).mean(1)


class MixtureOfExperts(nn.Module):
    """Each row goes to one expert, which sees only the rows that are its own."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(5, 3)
        self.experts = nn.ModuleList(nn.Linear(5, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        gates = self.router(rows).softmax(-1)
        gate, choice = gates.max(-1)
        out = rows.new_zeros(len(rows), 4)
        for e, expert in enumerate(self.experts):
            mask = choice == e
            out[mask] = gate[mask].unsqueeze(-1) * torch.tanh(expert(rows[mask]))
        return out.reshape(*x.shape[:-1], 4)


class InChunks(nn.Module):
    """The layer is called once for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(torch.cat([self.fc(row) for row in x.split(1)]))


class OneByOne(InChunks):
    """As above, without a batch dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(torch.stack([self.fc(row) for row in x]))


class Pairs(nn.Module):
    """Each pair of positions is a row: S * S rows for an example."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        left = x.unsqueeze(2).expand(-1, -1, length, -1)
        right = x.unsqueeze(1).expand(-1, length, -1, -1)
        return torch.tanh(self.fc(torch.cat([left, right], dim=-1))).amax((1, 2))


class Graph(nn.Module):
    """Nodes of all examples in one list with an index of whose they are, as in graph networks."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, nodes: Tensor, sizes: Tensor) -> Tensor:
        keep = torch.arange(nodes.shape[1]) <= sizes.unsqueeze(1)
        owner = keep.nonzero()[:, 0]
        h = torch.tanh(self.embed(nodes[keep]))
        pooled = h.new_zeros(len(nodes), 4).index_add(0, owner, h)
        return self.head(torch.tanh(pooled))


REARRANGED = [
    Architecture("flattened_example_major", ExampleMajor, floats(4, 5), queries=2),
    Architecture("flattened_sequence_major", SequenceMajor, floats(4, 5)),
    Architecture("flattened_sequence_major_as_long_as_a_batch", SequenceMajor, floats(3, 5)),
    Architecture("sequence_first_as_long_as_a_batch", SequenceFirst, floats(3, 5)),
    Architecture("sequence_first", SequenceFirst, floats(4, 5)),
    Architecture("sorted_inside", SortedInside, floats(5), cross_entropy),
    Architecture("reversed_inside", Reversed, ids(6, 5), cross_entropy),
    Architecture("mixture_of_experts", MixtureOfExperts, floats(5)),
    Architecture("mixture_of_experts_on_sequences", MixtureOfExperts, floats(3, 5), queries=2),
    Architecture("in_chunks", InChunks, floats(5)),
    Architecture("one_by_one", OneByOne, floats(5)),
    Architecture("pairs_of_positions", Pairs, floats(3, 2)),
    Architecture("graph_nodes", Graph, both(floats(4, 2), ids(4)), cross_entropy),
]
