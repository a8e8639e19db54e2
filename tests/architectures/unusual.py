"""What users do to modules: parametrise, adapt, freeze, overwrite, recompute, write their own."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from .architecture import Architecture, cross_entropy, floats


class Cube(torch.autograd.Function):
    """Of the old kind, with `ctx` in forward and no rule for vmap: `torch.func` refuses it."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


class CustomFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 4)
        self.scale = nn.Parameter(torch.ones(4))
        self.fc2 = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(Cube.apply(torch.tanh(self.fc1(x)) * self.scale))


class CustomLayer(nn.Module):
    """A custom function on the parameter itself, which one backward per example must find."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ Cube.apply(self.weight).T)


class Item(nn.Module):
    """`.item()` can't be vmapped either; here it changes no number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        assert x.abs().max().item() < 1e6
        return self.fc(torch.tanh(x * self.scale))


def weight_norm() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 3))


def weight_norm_of_old() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        first = nn.utils.weight_norm(nn.Linear(5, 4))
    return nn.Sequential(first, nn.Tanh(), nn.Linear(4, 3))


def spectral_norm() -> nn.Module:
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Conv1d(2, 3, 2)), nn.Tanh(), nn.Conv1d(3, 2, 2)
    )


class LoRA(nn.Module):
    """A frozen base and two thin layers beside it."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 0.5 * self.up(self.down(x))


class MergedLoRA(nn.Linear):
    """As above within one weight: parameters of a subclass that its parent's rule can't know."""

    def __init__(self) -> None:
        super().__init__(5, 3)
        self.weight.requires_grad_(False)
        self.a = nn.Parameter(torch.zeros(2, 5))
        self.b = nn.Parameter(torch.zeros(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(torch.tanh(x), self.weight + self.b @ self.a, self.bias)


def in_place_activations() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 4),
        nn.ReLU(inplace=True),
        nn.Linear(4, 6),
        nn.ELU(inplace=True),
        nn.Linear(6, 3),
    )


class OverwritesOutputs(nn.Module):
    """Layers' outputs are scaled, added to and partly overwritten in place, through views too."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 4)
        self.fc2 = nn.Linear(4, 4)
        self.fc3 = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        h.mul_(2).tanh_()
        out = self.fc2(h)
        out += h
        out[..., 0] = 0
        out[..., 1:3].sigmoid_()
        return self.fc3(out)


class Recomputed(nn.Module):
    """Activation checkpointing: the forward of a part runs again during the backward pass."""

    def __init__(self, use_reentrant: bool) -> None:
        super().__init__()
        self.use_reentrant = use_reentrant
        self.enter = nn.Linear(5, 4)
        self.part = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4))
        self.leave = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.enter(x))
        h = h + checkpoint(self.part, h, use_reentrant=self.use_reentrant)
        return self.leave(h)


def frozen_parameter() -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)
    model[4].weight.requires_grad_(False)
    return model


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)
        self.spare = nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(2))
        self.ignored = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.ignored(x)
        return self.fc(x)


class UsedBySomeExamplesOnly(nn.Module):
    """`torch.where` picks a branch for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(5, 3)
        self.right = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x[:, :1] > 0, self.left(x), torch.tanh(self.right(x)))


def dropout() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 4), nn.Dropout(0.5), nn.Tanh(), nn.AlphaDropout(0.5), nn.Linear(4, 3)
    )


class ParametersInContainers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([torch.zeros(5, 4), torch.zeros(4, 3)])
        self.named = nn.ParameterDict({"shift": torch.zeros(3)})

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weights[0]) @ self.weights[1] + self.named["shift"]


class ComputesGradients(nn.Module):
    """Forces are the gradient of an energy: a gradient is taken within the forward itself."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 4)
        self.fc2 = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            energy = self.fc2(torch.tanh(self.fc1(x))).sum()
            return torch.autograd.grad(energy, x, create_graph=True)[0]


UNUSUAL = [
    Architecture("custom_autograd_function", CustomFunction, floats(5), cross_entropy),
    Architecture("custom_autograd_function_on_a_parameter", CustomLayer, floats(5)),
    Architecture("reads_a_number_in_forward", Item, floats(5)),
    Architecture("weight_norm", weight_norm, floats(5)),
    Architecture("weight_norm_on_sequences", weight_norm, floats(3, 5), queries=2),
    Architecture("weight_norm_of_old", weight_norm_of_old, floats(5)),
    Architecture("spectral_norm", spectral_norm, floats(2, 5)),
    Architecture(
        "lora",
        lambda: nn.Sequential(LoRA(nn.Linear(5, 4), 2), nn.Tanh(), LoRA(nn.Linear(4, 3), 1)),
        floats(5),
    ),
    Architecture("lora_merged", MergedLoRA, floats(5)),
    Architecture("in_place_activations", in_place_activations, floats(5), cross_entropy),
    Architecture("in_place_on_outputs", OverwritesOutputs, floats(5)),
    Architecture("in_place_on_outputs_of_sequences", OverwritesOutputs, floats(3, 5)),
    Architecture("recomputed", lambda: Recomputed(use_reentrant=False), floats(5)),
    Architecture("recomputed_reentrant", lambda: Recomputed(use_reentrant=True), floats(5)),
    Architecture("frozen_parameters", frozen_parameter, floats(5), queries=2),
    Architecture("unused_parameters", Unused, floats(5)),
    Architecture("used_by_some_examples_only", UsedBySomeExamplesOnly, floats(5)),
    Architecture("dropout", dropout, floats(5)),
    Architecture("parameters_in_containers", ParametersInContainers, floats(5)),
    Architecture("gradient_within_forward", ComputesGradients, floats(5)),
]
