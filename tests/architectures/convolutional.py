"""Convolutions and transposed convolutions: each option, and the usual ways to stack them."""

from typing import Any

import torch
from torch import Tensor, nn

from .architecture import Architecture, cross_entropy, floats


def conv(name: str, kind: type[nn.Module], size: tuple[int, ...], *args: Any, **options: Any):
    """One convolution with a curved output, so that each position's gradient differs."""
    return Architecture(
        name, lambda: nn.Sequential(kind(*args, **options), nn.Tanh()), floats(*size)
    )


def depthwise_separable() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(1, 3, 3, padding=1)
        self.down2 = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.bottom = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.merge = nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(self.down1(x))
        second = torch.relu(self.down2(first))
        second = second + torch.tanh(self.bottom(second))
        return self.merge(torch.cat([first, torch.relu(self.up(second))], dim=1))


class ResidualInPlace(nn.Module):
    """`inplace=True` and `+=` right on the outputs of layers, as in torchvision's ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(3)
        self.conv2 = nn.Conv2d(3, 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out)


class OutputSize(nn.Module):
    """A transposed convolution whose output size is an argument of the call."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2, 3, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.up(x, output_size=[8, 7]))


class TimesAsExamples(nn.Module):
    """Frames of a video go through a 2-D convolution as if they were examples."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, video: Tensor) -> Tensor:
        frames = torch.tanh(self.conv(video.flatten(0, 1)))
        return frames.unflatten(0, video.shape[:2]).mean(1)


CONVOLUTIONAL = [
    conv("conv1d", nn.Conv1d, (2, 9), 2, 3, 3),
    conv("conv1d_circular", nn.Conv1d, (2, 9), 2, 3, 3, padding=2, padding_mode="circular"),
    conv("conv1d_same_even_kernel", nn.Conv1d, (2, 9), 2, 3, 4, padding="same", dilation=3),
    conv("conv1d_causal_depthwise", nn.Conv1d, (4, 9), 4, 8, 3, padding=2, groups=4, bias=False),
    conv("conv2d", nn.Conv2d, (2, 6, 5), 2, 3, (3, 2)),
    conv("conv2d_without_bias", nn.Conv2d, (2, 6, 5), 2, 3, 3, bias=False),
    conv("conv2d_groups", nn.Conv2d, (4, 6, 5), 4, 6, 3, groups=2, padding=1),
    conv("conv2d_dilation", nn.Conv2d, (2, 8, 7), 2, 3, (2, 3), dilation=(3, 2)),
    conv("conv2d_stride_with_a_rest", nn.Conv2d, (2, 8, 7), 2, 3, 3, stride=(3, 2), padding=(0, 1)),
    conv("conv2d_reflect", nn.Conv2d, (2, 6, 5), 2, 3, 3, padding=(2, 1), padding_mode="reflect"),
    conv("conv2d_replicate", nn.Conv2d, (2, 6, 5), 2, 3, 3, padding=2, padding_mode="replicate"),
    conv("conv2d_circular", nn.Conv2d, (2, 6, 5), 2, 3, 3, padding=(1, 2), padding_mode="circular"),
    conv("conv2d_same", nn.Conv2d, (2, 6, 5), 2, 3, (4, 3), padding="same", dilation=(1, 2)),
    conv(
        "conv2d_same_circular",
        nn.Conv2d,
        (2, 6, 5),
        2,
        4,
        (4, 2),
        padding="same",
        padding_mode="circular",
        groups=2,
    ),
    conv("conv2d_valid", nn.Conv2d, (2, 6, 5), 2, 3, 3, padding="valid", stride=2),
    conv("conv2d_pointwise", nn.Conv2d, (2, 4, 3), 2, 3, 1),
    conv("conv2d_as_wide_as_the_image", nn.Conv2d, (2, 4, 3), 2, 3, (4, 3)),
    conv("conv2d_everything", nn.Conv2d, (4, 9, 8), 4, 6, (3, 2), (2, 3), (2, 1), (2, 3), 2),
    conv("conv3d", nn.Conv3d, (2, 4, 5, 3), 2, 3, (2, 3, 2), padding=(1, 0, 1)),
    conv("conv3d_groups_dilation", nn.Conv3d, (4, 5, 4, 5), 4, 2, 2, dilation=(1, 2, 3), groups=2),
    conv(
        "conv3d_replicate_stride",
        nn.Conv3d,
        (1, 4, 5, 3),
        1,
        2,
        3,
        stride=(1, 2, 2),
        padding=1,
        padding_mode="replicate",
    ),
    conv("conv_transpose1d", nn.ConvTranspose1d, (2, 5), 2, 3, 3, stride=2, output_padding=1),
    conv("conv_transpose1d_dilation", nn.ConvTranspose1d, (2, 5), 2, 3, 3, dilation=2, padding=2),
    conv("conv_transpose2d", nn.ConvTranspose2d, (2, 4, 3), 2, 3, (2, 3), bias=False),
    conv(
        "conv_transpose2d_everything",
        nn.ConvTranspose2d,
        (4, 4, 3),
        4,
        6,
        (3, 2),
        stride=(2, 3),
        padding=(1, 0),
        output_padding=(1, 2),
        groups=2,
        dilation=(2, 1),
    ),
    conv("conv_transpose3d", nn.ConvTranspose3d, (2, 2, 3, 2), 2, 4, (2, 1, 3), 2, 1, 1, 2),
    Architecture("conv_transpose_output_size", OutputSize, floats(2, 3, 3)),
    Architecture("depthwise_cnn", depthwise_separable, floats(1, 6, 5), cross_entropy),
    Architecture("u_net", UNet, floats(1, 6, 4), queries=2),
    Architecture("residual_in_place", ResidualInPlace, floats(2, 5, 4)),
    Architecture("frames_as_examples", TimesAsExamples, floats(3, 1, 5, 4)),
]
