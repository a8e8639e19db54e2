"""Each example's gradient of a kernel, by one convolution in which every example is a group."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch.nn.grad import conv2d_weight, conv3d_weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms.convolved import Convolved

_BY_DIMS: dict[int, Callable[..., Tensor]] = {2: conv2d_weight, 3: conv3d_weight}


def can_be_grouped(form: Convolved) -> bool:
    """Whether PyTorch has code for it here that doesn't go through examples one by one.

    oneDNN's has, for two and three axes, on processors with wide registers. A convolution that
    doesn't reach the end of its input is one whose output size says so.
    """
    reached = tuple(
        (size + 2 * zeros - step * (kernel - 1) - 1) // by + 1
        for size, kernel, by, step, zeros in zip(
            form.inputs.shape[2:],
            form.kernel_size,
            form.stride,
            form.dilation,
            form.zeros,
            strict=True,
        )
    )
    return (
        len(form.kernel_size) in _BY_DIMS
        and form.inputs.device.type == "cpu"
        and form.inputs.dtype == form.output_grads.dtype
        and form.inputs.dtype in _dtypes()
        and bool(torch.backends.mkldnn.enabled)
        and tuple(form.output_grads.shape[2:]) == reached
    )


def kernel_gradients(form: Convolved) -> Float[Tensor, "B P"]:
    """The gradient of the kernel for each example, in the order of the kernel's own numbers."""
    inputs, output_grads = form.tensors
    channels = inputs.shape[1] // form.groups
    gradients = _BY_DIMS[len(form.kernel_size)](
        inputs.reshape(1, -1, *inputs.shape[2:]),
        (output_grads.shape[:2].numel(), channels, *form.kernel_size),
        output_grads.reshape(1, -1, *output_grads.shape[2:]),
        stride=form.stride,
        padding=form.zeros,
        dilation=form.dilation,
        groups=form.batch_size * form.groups,
    )
    return gradients.view(form.batch_size, -1)


@cache
def _dtypes() -> frozenset[torch.dtype]:
    if not torch.backends.mkldnn.is_available():
        return frozenset()
    by_capability = {
        "AVX2": frozenset({torch.float32}),
        "AVX512": frozenset({torch.float32, torch.bfloat16}),
    }
    return by_capability.get(torch.backends.cpu.get_cpu_capability(), frozenset())
