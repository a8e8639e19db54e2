"""Transposed convolutions: a convolution with the parts of input and output gradient swapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.functional import pad

from headwater.capture.layer_call import LayerCall, NotPerExample
from headwater.capture.registry import register_rule
from headwater.capture.rules.convolution import by_group
from headwater.forms import Factored, Form, Materialised
from headwater.forms.convolved import unfolded

if TYPE_CHECKING:
    from headwater.forms.gradients import Block


def transposed_convolution(call: LayerCall) -> dict[Block, Form]:
    """`nn.ConvTranspose1d`, `2d` and `3d`.

    Each input position p spreads over the outputs p * stride - padding + dilation * k, so the
    gradient of weight (i, o, k) pairs the input at p with the output gradient unfolded there. The
    sum runs over input positions, the bias's over output positions: two blocks.
    """
    module, grads, inputs = call.module, call.output_grad, call.input
    assert isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    dims = len(module.kernel_size)
    if grads.dim() != dims + 2:
        raise NotPerExample("an input without a batch axis")
    forms: dict[Block, Form] = {}
    if "weight" in call.wanted:
        assert not isinstance(module.padding, str)
        amounts = [amount for amount in reversed(module.padding) for _ in range(2)]
        size = inputs.shape[2:]
        padded = pad(grads, amounts)
        windows = unfolded(padded, module.kernel_size, module.stride, module.dilation, size)
        windows = windows.flatten(2 + dims).flatten(1, 1 + dims)
        forms[("weight",)] = Factored(
            inputs=by_group(windows, module.groups, call.batch_size),
            output_grads=by_group(inputs.flatten(2), module.groups, call.batch_size),
        )
    if "bias" in call.wanted:
        bias = by_group(grads.flatten(2), 1, call.batch_size).sum(dim=2).flatten(1)
        forms[("bias",)] = Materialised(bias)
    return forms


for layer_type in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d):
    register_rule(layer_type, transposed_convolution)
