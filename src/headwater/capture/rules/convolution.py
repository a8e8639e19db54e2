"""Convolutions: a linear map at every position of the unfolded input, per group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import pad

from headwater.capture.layer_call import LayerCall, NotPerExample
from headwater.capture.registry import register_rule
from headwater.forms import Convolved, Factored, Form, Materialised, Reduced

if TYPE_CHECKING:
    from jaxtyping import Float

    from headwater.forms.gradients import Block

ConvNd = nn.Conv1d | nn.Conv2d | nn.Conv3d


def convolution(call: LayerCall) -> dict[Block, Form]:
    """`nn.Conv1d`, `2d` and `3d`: groups, dilation, stride, every padding and padding mode."""
    module = call.module
    inputs, grads = call.reduced if call.is_reduced else (call.input, call.output_grad)
    assert isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    dims = len(module.kernel_size)
    if grads.dim() != dims + 2:
        raise NotPerExample("an input without a batch axis")
    if call.wanted == {"bias"}:
        rows = by_group(call.output_grad.flatten(2), module.groups, call.batch_size)
        return {("bias",): Materialised(rows.sum(dim=2).flatten(1))}
    bias = "bias" in call.wanted
    names = ("weight", "bias") if bias else ("weight",)
    padded, padding = _padded(inputs, module)
    form = Convolved(
        padded,
        grads,
        module.kernel_size,
        module.stride,
        module.dilation,
        groups=module.groups,
        bias=bias,
        padding=padding,
    )
    if len(grads) != call.batch_size:
        images = _of_several_images(form, call.batch_size)
        return {names: Reduced(images) if call.is_reduced else images}
    return {names: Reduced(form) if call.is_reduced else form}


def _of_several_images(form: Convolved, batch_size: int) -> Factored:
    """Images of one example after the other are more positions of the same."""
    images = form.factored()
    if images.batch_size % batch_size:
        raise NotPerExample(f"{images.batch_size} images in a batch of {batch_size}")
    inputs, output_grads = (
        part.unflatten(0, (batch_size, -1)).transpose(1, 2).flatten(2, 3) for part in images.tensors
    )
    return images.with_tensors((inputs, output_grads))


def _padded(inputs: Tensor, module: ConvNd) -> tuple[Tensor, tuple[int, ...]]:
    """The inputs, and the zeros that are to be thought around them; others are written out."""
    # What the layer itself pads by, last axis first; asymmetric where padding="same" needs it.
    amounts = module._reversed_padding_repeated_twice
    before, after = amounts[::2], amounts[1::2]
    if module.padding_mode == "zeros" and before == after:
        return inputs, tuple(reversed(before))
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return pad(inputs, amounts, mode=mode), ()


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
