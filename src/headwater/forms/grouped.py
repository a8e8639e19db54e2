"""Each example's gradient of a kernel, by one convolution in which every example is a group."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch.nn.grad import conv2d_weight, conv3d_weight

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

_BY_DIMS: dict[int, Callable[..., Tensor]] = {2: conv2d_weight, 3: conv3d_weight}


def can_be_grouped(
    inputs: Float[Tensor, "B C ..."],
    output_grads: Float[Tensor, "B O ..."],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
) -> bool:
    """Whether PyTorch has code for it here that doesn't go through examples one by one.

    oneDNN's has, for two and three axes, on processors with wide registers. A convolution that
    doesn't reach the end of its input is one whose output size says so.
    """
    reached = tuple(
        (size + 2 * zeros - step * (kernel - 1) - 1) // by + 1
        for size, kernel, by, step, zeros in zip(
            inputs.shape[2:], kernel_size, stride, dilation, padding, strict=True
        )
    )
    return (
        len(kernel_size) in _BY_DIMS
        and inputs.device.type == "cpu"
        and inputs.dtype == output_grads.dtype
        and inputs.dtype in _dtypes()
        and bool(torch.backends.mkldnn.enabled)
        and tuple(output_grads.shape[2:]) == reached
    )


def kernel_gradients(
    inputs: Float[Tensor, "B C ..."],
    output_grads: Float[Tensor, "B O ..."],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    groups: int,
) -> Float[Tensor, "B P"]:
    """The gradient of the kernel for each example, in the order of the kernel's own numbers.

    Args:
        inputs: what came into the layer.
        output_grads: the gradient of the example's loss at the layer's output.
        kernel_size, stride, dilation, padding: per spatial axis.
        groups: of the layer.
    """
    size = inputs.shape[0]
    kernels = (output_grads.shape[:2].numel(), inputs.shape[1] // groups, *kernel_size)
    gradients = _BY_DIMS[len(kernel_size)](
        inputs.reshape(1, -1, *inputs.shape[2:]),
        kernels,
        output_grads.reshape(1, -1, *output_grads.shape[2:]),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=size * groups,
    )
    return gradients.view(size, -1)


@cache
def _dtypes() -> frozenset[torch.dtype]:
    if not torch.backends.mkldnn.is_available():
        return frozenset()
    by_capability = {
        "AVX2": frozenset({torch.float32}),
        "AVX512": frozenset({torch.float32, torch.bfloat16}),
    }
    return by_capability.get(torch.backends.cpu.get_cpu_capability(), frozenset())
