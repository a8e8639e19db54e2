"""Models that differ in what comes before and after their final fully connected layer."""

import torch
from torch import Tensor, nn


class _Untouchable(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise AssertionError("the backward pass went through the rest of the network")


class Body(nn.Module):
    """Five inputs to four features; a backward pass through it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(5, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return _Untouchable.apply(torch.tanh(self.norm(self.hidden(x))))


class Plain(nn.Module):
    bias = True

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.head = nn.Linear(4, 3, bias=self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class WithoutBias(Plain):
    bias = False


class ThenActivation(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(super().forward(x)) * torch.tensor([1.0, 2.0, -0.5], dtype=x.dtype)


class ThenTrained(Plain):
    """A layer with parameters follows the one that is called final."""

    def __init__(self) -> None:
        super().__init__()
        self.after = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(torch.tanh(super().forward(x)))


class PerToken(Plain):
    """The head reads every token; the prediction is a pool of what it says."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.stack([self.body(x), self.body(x.flip(1)), self.body(2 * x)], dim=1)
        return self.head(tokens).logsumexp(dim=1)


class CalledTwice(Plain):
    def forward(self, x: Tensor) -> Tensor:
        features = self.body(x)
        return self.head(features) - 0.3 * self.head(features.square())


FINAL = {
    kind.__name__: kind
    for kind in (Plain, WithoutBias, ThenActivation, ThenTrained, PerToken, CalledTwice)
}


class TiedHead(nn.Module):
    """The head's weight is the token table's too, so its gradient needs a backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 4)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.mix(self.table(ids))).mean(dim=1))
