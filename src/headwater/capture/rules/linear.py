"""Linear maps: the gradient is output gradient times input, summed over positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

from headwater.capture.registry import register_rule
from headwater.forms import Factored, Form, Materialised

if TYPE_CHECKING:
    from headwater.capture.layer_call import LayerCall
    from headwater.forms.gradients import Block


def linear(call: LayerCall, layout: Literal["oi", "io"] = "oi") -> dict[Block, Form]:
    """`nn.Linear` on (B, ..., I), any number of positions per example."""
    output_grads = call.by_example(call.output_grad, trailing=1)
    if call.wanted == {"bias"}:
        return {("bias",): Materialised(output_grads.sum(dim=1))}
    inputs = call.by_example(call.input, trailing=1)
    bias = "bias" in call.wanted
    form = Factored(inputs[:, None], output_grads[:, None], bias=bias, layout=layout)
    return {("weight", "bias") if bias else ("weight",): form}


def hugging_face_conv1d(call: LayerCall) -> dict[Block, Form]:
    """GPT-2's Conv1D: a linear map that stores its weight as (I, O)."""
    return linear(call, layout="io")


register_rule(nn.Linear, linear)
register_rule("transformers.pytorch_utils.Conv1D", hugging_face_conv1d)
