"""Convolutions: a linear map at every position of the unfolded input, per group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from headwater.capture.layer_call import LayerCall, NotPerExample
from headwater.capture.registry import register_rule
from headwater.forms import Factored, Form, Materialised

if TYPE_CHECKING:
    from jaxtyping import Float

    from headwater.forms.gradients import Block

ConvNd = nn.Conv1d | nn.Conv2d | nn.Conv3d


def convolution(call: LayerCall) -> dict[Block, Form]:
    """`nn.Conv1d`, `2d` and `3d`: groups, dilation, stride, every padding and padding mode."""
    module, grads = call.module, call.output_grad
    assert isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    dims = len(module.kernel_size)
    if grads.dim() != dims + 2:
        raise NotPerExample("an input without a batch axis")
    output_grads = by_group(grads.flatten(2), module.groups, call.batch_size)
    if call.wanted == {"bias"}:
        return {("bias",): Materialised(output_grads.sum(dim=2).flatten(1))}
    padded = _padded(call.input, module)
    windows = unfold(padded, module.kernel_size, module.stride, module.dilation, grads.shape[2:])
    inputs = by_group(windows, module.groups, call.batch_size)
    bias = "bias" in call.wanted
    return {("weight", "bias") if bias else ("weight",): Factored(inputs, output_grads, bias=bias)}


def _padded(inputs: Tensor, module: ConvNd) -> Tensor:
    # What the layer itself pads by, asymmetric where padding="same" needs it.
    amounts = module._reversed_padding_repeated_twice
    if not any(amounts):
        return inputs
    return pad(
        inputs, amounts, mode="constant" if module.padding_mode == "zeros" else module.padding_mode
    )


def unfold(
    inputs: Float[Tensor, "N C ..."],
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    output_size: torch.Size,
) -> Float[Tensor, "N I S"]:
    """For every output position the inputs that a kernel sees there, as a view where possible."""
    dims = len(kernel_size)
    for axis in range(dims):
        reach = dilation[axis] * (kernel_size[axis] - 1) + 1
        inputs = inputs.unfold(2 + axis, reach, stride[axis])[..., :: dilation[axis]]
        inputs = inputs.narrow(2 + axis, 0, output_size[axis])
    # (N, C, positions..., kernel...) -> (N, C, kernel..., positions...)
    order = (0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims))
    windows = inputs.permute(order)
    return windows.flatten(2 + dims).flatten(1, 1 + dims)


def by_group(
    tensor: Float[Tensor, "N GxI S"], groups: int, batch_size: int
) -> Float[Tensor, "B G S I"]:
    """Channels split into groups, positions before channels, N = B * k images as k per example."""
    split: Tensor = tensor.unflatten(1, (groups, -1)).mT
    if split.shape[0] == batch_size:
        return split
    if split.shape[0] % batch_size:
        raise NotPerExample(f"{split.shape[0]} images in a batch of {batch_size}")
    images: Tensor = split.unflatten(0, (batch_size, -1))
    return images.transpose(1, 2).flatten(2, 3)


for layer_type in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
    register_rule(layer_type, convolution, methods=("forward", "_conv_forward"))
