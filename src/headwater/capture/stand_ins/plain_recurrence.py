"""Recurrent layers by operations that `torch.func` can vectorise, which torch's own it can't."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from headwater.capture.stand_ins.cells import step
from headwater.capture.stand_ins.directions import all_directions
from headwater.capture.stand_ins.gates import next_state
from headwater.capture.stand_ins.sequences import OfOneLength

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float


_FORWARDS = tuple(
    kind.forward for kind in (nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell)
)

Recurrent: TypeAlias = "nn.RNNBase | nn.RNNCellBase"


def recurrent_layers(model: nn.Module) -> list[Recurrent]:
    """The model's recurrent layers and cells whose forward is torch's own."""
    return [
        module
        for module in model.modules()
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase))
        and type(module).forward in _FORWARDS
        and "forward" not in vars(module)
    ]


@contextmanager
def computed_plainly(layers: Sequence[Recurrent]) -> Iterator[None]:
    """Within, these layers compute step by step, but for packed sequences."""
    # While a model's layers are recorded, some have another forward for that.
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        if isinstance(layer, nn.RNNBase):
            layer.forward = partial(_whole, layer)
        else:
            layer.forward = partial(_cell, layer)
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            vars(layer).pop("forward", None)
            if forward is not None:
                layer.forward = forward


def _cell(module: nn.RNNCellBase, input: Any, hx: Any = None) -> Any:
    if input.dim() != 2:
        return type(module).forward(module, input, hx)
    return step(module, None, input, hx)


def _whole(module: nn.RNNBase, input: Any, hx: Any = None) -> Any:
    if not isinstance(input, Tensor) or input.dim() != 3 or module.training:
        return type(module).forward(module, input, hx)
    x = input if module.batch_first else input.transpose(0, 1)
    out, final = all_directions(module, x, hx, OfOneLength(), partial(_layer, module))
    return (out if module.batch_first else out.transpose(0, 1)), final


def _layer(
    module: nn.RNNBase, x: Float[Tensor, "B T I"], h: Tensor, c: Tensor, suffix: str
) -> tuple[Float[Tensor, "B T H"], Tensor, Tensor]:
    """One layer in one direction: outputs of all steps, and the last state."""
    # A parametrization computes them when they are asked for.
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = (
        getattr(module, f"{name}{suffix}", None) for name in names
    )
    assert weight_ih is not None
    assert weight_hh is not None
    out = []
    for from_input in linear(x, weight_ih, bias_ih).unbind(1):
        from_state = linear(h, weight_hh, bias_hh)
        h, c = next_state(module, from_input, from_state, h, c)
        if weight_hr is not None:
            h = linear(h, weight_hr)
        out.append(h)
    # Steps first in memory, as torch's own.
    return torch.stack(out).transpose(0, 1), h, c
