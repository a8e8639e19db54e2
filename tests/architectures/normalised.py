"""Layers with elementwise parameters: norms, PReLU, scales."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .architecture import Architecture, cross_entropy, floats


def after_linear(norm: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(5, 4), norm(), nn.Tanh(), nn.Linear(4, 3))


def after_conv2d(norm: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Conv2d(1, 4, 2), norm(), nn.Tanh(), nn.Conv2d(4, 2, 2))


class LayerScale(nn.Module):
    """Bare parameters that scale channels, as in ConvNeXt and CaiT."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 5)
        self.gamma = nn.Parameter(torch.ones(5))
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.gamma * torch.tanh(self.fc(x)))[..., :3] * self.temperature.exp()


IMAGE = floats(1, 5, 4)

NORMALISED = [
    Architecture("layer_norm", after_linear(lambda: nn.LayerNorm(4)), floats(5), cross_entropy),
    Architecture("layer_norm_on_sequences", after_linear(lambda: nn.LayerNorm(4)), floats(6, 5)),
    Architecture(
        "layer_norm_of_two_dimensions", lambda: nn.LayerNorm((3, 4)), floats(2, 3, 4), queries=2
    ),
    Architecture(
        "layer_norm_without_bias", after_linear(lambda: nn.LayerNorm(4, bias=False)), floats(5)
    ),
    Architecture(
        "layer_norm_without_parameters",
        after_linear(lambda: nn.LayerNorm(4, elementwise_affine=False)),
        floats(5),
    ),
    Architecture("rms_norm", after_linear(lambda: nn.RMSNorm(4)), floats(5)),
    Architecture("rms_norm_of_two_dimensions", lambda: nn.RMSNorm((3, 4)), floats(2, 3, 4)),
    Architecture("group_norm", after_conv2d(lambda: nn.GroupNorm(2, 4)), IMAGE),
    Architecture(
        "group_norm_on_vectors",
        lambda: nn.Sequential(nn.Linear(5, 6), nn.GroupNorm(2, 6), nn.Tanh(), nn.Linear(6, 3)),
        floats(5),
    ),
    Architecture(
        "instance_norm1d",
        lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.InstanceNorm1d(3, affine=True), nn.Tanh()),
        floats(2, 6),
    ),
    Architecture("instance_norm2d", after_conv2d(lambda: nn.InstanceNorm2d(4, affine=True)), IMAGE),
    Architecture(
        "instance_norm2d_with_running_stats",
        after_conv2d(lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
        IMAGE,
    ),
    Architecture("batch_norm1d", after_linear(lambda: nn.BatchNorm1d(4)), floats(5)),
    Architecture(
        "batch_norm1d_on_sequences",
        lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Tanh()),
        floats(2, 6),
    ),
    Architecture("batch_norm2d", after_conv2d(lambda: nn.BatchNorm2d(4)), IMAGE, queries=2),
    Architecture(
        "batch_norm3d", lambda: nn.Sequential(nn.BatchNorm3d(2), nn.Tanh()), floats(2, 3, 2, 4)
    ),
    Architecture("prelu", after_linear(lambda: nn.PReLU()), floats(5)),
    Architecture("prelu_per_channel", after_conv2d(lambda: nn.PReLU(4)), IMAGE),
    Architecture("prelu_per_channel_on_vectors", after_linear(lambda: nn.PReLU(4)), floats(5)),
    Architecture("layer_scale", LayerScale, floats(5)),
    Architecture("layer_scale_on_sequences", LayerScale, floats(3, 5)),
]
