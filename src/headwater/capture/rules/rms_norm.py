"""Normalisations by root mean square as transformers has them, a class for every architecture."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from headwater.capture.layer_call import NotPerExample
from headwater.capture.registry import recognise
from headwater.forms import Materialised

if TYPE_CHECKING:
    from torch import Tensor

    from headwater.capture.layer_call import LayerCall
    from headwater.forms import Form
    from headwater.forms.gradients import Block


def is_rms_norm(module: nn.Module) -> bool:
    """Whether it is one: by its name, for there is no common class, and its only parameter."""
    name = type(module).__name__
    weight = module._parameters.get("weight")
    return (
        name.endswith(("RMSNorm", "T5LayerNorm"))
        and len(module._parameters) == 1
        and weight is not None
        and weight.dim() == 1
    )


def weighted_rms_norm(call: LayerCall) -> dict[Block, Form]:
    """Layers whose output is the normalised input times `weight`, or times 1 + `weight`.

    What is normalised, and in which precision, differs; so the layer's own forward is asked for
    it: with ones for the weight, or with zeros where one is added.
    """
    inputs: Tensor = call.args[0] if call.args else next(iter(call.kwargs.values()))
    with torch.no_grad():
        normalised = _forward(call.module, inputs, 0.0)
        if not bool(normalised.count_nonzero()):
            normalised = _forward(call.module, inputs, 1.0)
    if normalised.shape != call.output_grad.shape:
        raise NotPerExample("its output isn't of its input's shape")
    grads = call.output_grad * normalised.to(call.output_grad.dtype)
    return {("weight",): Materialised(call.by_example(grads, trailing=1).sum(dim=1))}


def _forward(module: nn.Module, inputs: Tensor, weight: float) -> Tensor:
    # A copy, which has no hooks to call and whose weight is nobody's.
    twin = copy.copy(module)
    like = module._parameters["weight"]
    assert like is not None
    twin.__dict__["_parameters"] = {"weight": nn.Parameter(torch.full_like(like, weight))}
    output: Tensor = type(module).forward(twin, inputs.detach())
    return output


recognise(is_rms_norm, weighted_rms_norm)
