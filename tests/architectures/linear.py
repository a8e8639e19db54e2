"""Linear layers: where they stand, how they are called, and what subclasses make of them."""

import itertools

import torch
from torch import Tensor, nn

from .architecture import Architecture, both, cross_entropy, floats


class CalledTwice(nn.Module):
    """The same layer at two depths; one backward pass credits it twice."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(5, 4)
        self.step = nn.Linear(4, 4)
        self.leave = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(torch.tanh(self.step(torch.tanh(self.step(self.enter(x))))))


class CalledOnVectorsAndOnSequences(nn.Module):
    """The same layer with S = 1 and with S = 4."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor, sequence: Tensor) -> Tensor:
        return torch.sigmoid(self.fc(x)) + torch.tanh(self.fc(sequence)).mean(1)


class CalledUnderNoGradToo(nn.Module):
    """One of the two calls is no part of the graph, as with a target network."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.fc(x.flip(1))
        return torch.tanh(self.fc(x)) * target + self.fc(2 * x).detach()


class PlainSubclass(nn.Linear):
    """Inherits forward: the rule of its parent is right."""


class ScaledSubclass(nn.Linear):
    """Forward differs, so the rule of its parent would be wrong by factors."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7 * super().forward(torch.tanh(x)) + self.bias.square()


class ByKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 4)
        self.fc2 = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(input=torch.tanh(self.fc1(input=x)))


class ForwardCalledDirectly(nn.Module):
    """`fc.forward(x)` runs no hook."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 4)
        self.fc2 = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.tanh(self.fc1.forward(x)))


def with_the_users_own_hooks() -> nn.Module:
    """Hooks that change what the layer sees and gives, and that were there first."""
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    model[0].register_forward_hook(lambda module, args, output: output * output)
    model[2].register_forward_pre_hook(lambda module, args: (3 * args[0] + 1,))
    return model


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(4, 3, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.bilinear(x, y))


class SharedInput(nn.Module):
    """A layer whose input has no batch dimension: what it gives is the same for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Parameter(torch.ones(1, 4))
        self.generator = nn.Linear(4, 5)
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(x * self.generator(self.code)))


class SharedInputOfBatchLength(nn.Module):
    """As above, and the constant has as many rows as a batch has examples."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", torch.tensor([[1.0, -0.5], [0.2, 2.0], [-1.0, 0.7]]))
        self.generator = nn.Linear(2, 5)
        self.fc = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(x @ self.generator(self.codes).T @ self.generator(self.codes)))


class ExpandedParameter(nn.Module):
    """What goes into a layer is a parameter's own memory, which the next checkpoint overwrites."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Parameter(torch.ones(1, 4))
        self.generator = nn.Linear(4, 5)
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(x * self.generator(self.code.expand(len(x), 4))))


class TwoTowers(nn.Module):
    """Both inputs through one layer in one call, one below the other."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Linear(5, 4)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a, b = torch.tanh(self.tower(torch.cat([left, right]))).chunk(2)
        return a * b


def conv1d_of_hugging_face() -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    return nn.Sequential(Conv1D(4, 5), nn.Tanh(), Conv1D(3, 4))


def mlp(*sizes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.GELU()]
    return nn.Sequential(*layers[:-1])


LINEAR = [
    Architecture("linear", lambda: nn.Linear(5, 3), floats(5)),
    Architecture("linear_without_bias", lambda: nn.Linear(5, 3, bias=False), floats(5), queries=2),
    Architecture("linear_classifier", lambda: nn.Linear(5, 3), floats(5), cross_entropy),
    Architecture("linear_of_one_output", lambda: nn.Linear(5, 1), floats(5)),
    Architecture("linear_on_sequences", lambda: mlp(5, 4, 3), floats(6, 5), queries=2),
    Architecture("linear_on_sequences_as_long_as_a_batch", lambda: mlp(5, 4, 2), floats(3, 5)),
    Architecture("wide_linear_on_short_sequences", lambda: mlp(18, 20), floats(2, 18)),
    Architecture("linear_on_grids", lambda: mlp(5, 4), floats(2, 3, 5)),
    Architecture("deep_mlp", lambda: mlp(5, 7, 4, 6, 3), floats(5), cross_entropy),
    Architecture("module_called_twice", CalledTwice, floats(5)),
    Architecture("module_called_twice_on_sequences", CalledTwice, floats(6, 5)),
    Architecture(
        "module_called_on_vectors_and_sequences",
        CalledOnVectorsAndOnSequences,
        both(floats(5), floats(4, 5)),
    ),
    Architecture("module_called_under_no_grad_too", CalledUnderNoGradToo, floats(5)),
    Architecture("linear_subclass", lambda: PlainSubclass(5, 3), floats(5)),
    Architecture("linear_subclass_with_another_forward", lambda: ScaledSubclass(5, 3), floats(5)),
    Architecture("linear_called_by_keyword", ByKeyword, floats(5)),
    Architecture("forward_called_directly", ForwardCalledDirectly, floats(5)),
    Architecture("users_own_hooks", with_the_users_own_hooks, floats(5)),
    Architecture("bilinear", Bilinear, both(floats(4), floats(3))),
    Architecture("linear_on_an_input_without_batch", SharedInput, floats(5)),
    Architecture("linear_on_an_expanded_parameter", ExpandedParameter, floats(5)),
    Architecture("linear_on_a_constant_of_batch_length", SharedInputOfBatchLength, floats(5)),
    Architecture("two_towers_in_one_call", TwoTowers, both(floats(5), floats(5))),
    Architecture("conv1d_of_hugging_face", conv1d_of_hugging_face, floats(5)),
    Architecture("conv1d_of_hugging_face_on_sequences", conv1d_of_hugging_face, floats(4, 5)),
]
