"""One parameter that several modules or functions use."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import Architecture, floats, ids, token_cross_entropy


class TiedLinears(nn.Module):
    """One weight and two biases, on sequences: products across the two uses count."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(5, 4)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.leave = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(torch.tanh(self.second(torch.tanh(self.first(self.enter(x))))))


class TiedBias(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 3)
        self.second = nn.Linear(3, 3)
        self.second.bias = self.first.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


class TiedEmbeddingAndHead(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, 6, bias=bias)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.mix(self.embed(ids))))


class TwoTiedEmbeddings(nn.Module):
    """Encoder and decoder share the table; ids of one occur among the other's."""

    def __init__(self) -> None:
        super().__init__()
        self.source = nn.Embedding(6, 4)
        self.target = nn.Embedding(6, 4, padding_idx=0)
        self.target.weight = self.source.weight
        self.head = nn.Linear(4, 3)

    def forward(self, ids: Tensor) -> Tensor:
        mixed = self.source(ids[:, :2]).mean(1) * torch.tanh(self.target(ids[:, 2:])).sum(1)
        return self.head(mixed)


class TiedConvolutions(nn.Module):
    """One kernel at two dilations."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Conv2d(2, 3, 3, padding=1)
        self.far = nn.Conv2d(2, 3, 3, padding=2, dilation=2)
        self.far.weight = self.near.weight

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.near(x)) * self.far(x)


class TiedLinearAndConvolution(nn.Module):
    """Parameters shared by modules of different kinds, here the biases."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 2)
        self.fc = nn.Linear(3, 3)
        self.fc.bias = self.conv.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.conv(x)).mean(-1))


class FunctionalOnly(nn.Module):
    """The layer is never called: only its weight is used."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(F.linear(x, self.fc.weight, self.fc.bias)))


class FunctionalToo(nn.Module):
    """The layer is called, and its weight is used once more behind its back."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.fc(x)) + F.linear(x.flip(-1), self.fc.weight)


class TiedAutoencoder(nn.Module):
    """The decoder is the encoder's weight transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(5, 3)
        self.bias = nn.Parameter(torch.zeros(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.encode(x)), self.encode.weight.T, self.bias)


class WeightInThePrediction(nn.Module):
    """A weight enters the output itself, as with a penalty that is a part of the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) + 0.1 * self.fc.weight.square().sum()


TIED = [
    Architecture("tied_linears", TiedLinears, floats(5)),
    Architecture("tied_linears_on_sequences", TiedLinears, floats(3, 5)),
    Architecture("tied_bias", TiedBias, floats(5)),
    Architecture(
        "embedding_tied_to_head",
        lambda: TiedEmbeddingAndHead(bias=False),
        ids(6, 4),
        token_cross_entropy,
    ),
    Architecture(
        "embedding_tied_to_head_with_bias",
        lambda: TiedEmbeddingAndHead(bias=True),
        ids(6, 3),
        token_cross_entropy,
    ),
    Architecture("two_tied_embeddings", TwoTiedEmbeddings, ids(6, 4)),
    Architecture("tied_convolutions", TiedConvolutions, floats(2, 5, 4)),
    Architecture("bias_of_linear_and_convolution", TiedLinearAndConvolution, floats(2, 5)),
    Architecture("weight_used_functionally", FunctionalOnly, floats(5)),
    Architecture("weight_used_functionally_too", FunctionalToo, floats(5)),
    Architecture("weight_used_functionally_too_on_sequences", FunctionalToo, floats(3, 5)),
    Architecture("tied_autoencoder", TiedAutoencoder, floats(5), queries=2),
    Architecture("weight_in_the_prediction", WeightInThePrediction, floats(5)),
]
