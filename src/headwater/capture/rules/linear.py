"""Linear maps: the gradient is output gradient times input, summed over positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from headwater.capture.registry import register_rule
from headwater.forms import Factored, Form, Materialised, Reduced

if TYPE_CHECKING:
    from headwater.capture.layer_call import LayerCall
    from headwater.forms.gradients import Block


def linear(call: LayerCall, layout: Literal["oi", "io"] = "oi") -> dict[Block, Form]:
    """`nn.Linear` on (B, ..., I), any number of positions per example."""
    if call.wanted == {"bias"}:
        grads = call.by_example(call.output_grad, trailing=1)
        return {("bias",): Materialised(grads.sum(dim=1))}
    bias = "bias" in call.wanted
    names = ("weight", "bias") if bias else ("weight",)

    def factored(inputs: Tensor, output_grads: Tensor) -> Factored:
        return Factored(
            call.by_example(inputs, trailing=1)[:, None],
            call.by_example(output_grads, trailing=1)[:, None],
            bias=bias,
            layout=layout,
        )

    # Of one position nothing is written out.
    if call.is_reduced and call.has_positions:
        return {names: Reduced(factored(*call.reduced))}
    return {names: factored(call.input, call.output_grad)}


def hugging_face_conv1d(call: LayerCall) -> dict[Block, Form]:
    """GPT-2's Conv1D: a linear map that stores its weight as (I, O)."""
    return linear(call, layout="io")


register_rule(nn.Linear, linear)
register_rule("transformers.pytorch_utils.Conv1D", hugging_face_conv1d)
