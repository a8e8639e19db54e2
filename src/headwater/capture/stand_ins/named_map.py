"""A linear map within a layer, by the names that its weight and bias have there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.forms import Factored, Materialised

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.capture.layer_call import LayerCall
    from headwater.forms import Form
    from headwater.forms.gradients import Block


def named_map(
    call: LayerCall,
    inputs: Float[Tensor, "B S I"],
    grads: Float[Tensor, "B S O"],
    *,
    weight: str,
    bias: str,
) -> dict[Block, Form]:
    """The gradients of what is asked for of a weight and a bias.

    Args:
        call: says what is asked for.
        inputs, grads: what came into the map, and the gradients at what went out.
        weight, bias: the parameters' names in the layer.
    """
    with_bias = bias in call.wanted
    if weight not in call.wanted:
        return {(bias,): Materialised(grads.sum(dim=1))} if with_bias else {}
    form = Factored(inputs[:, None], grads[:, None], bias=with_bias)
    return {(weight, bias) if with_bias else (weight,): form}
