"""Recurrent layers by operations that `torch.func` can vectorise, which torch's own it can't."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from headwater.capture.stand_ins.cells import step
from headwater.capture.stand_ins.gates import next_state

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
    x = input.transpose(0, 1) if module.batch_first else input
    directions = 2 if module.bidirectional else 1
    hidden, cells = _initial(module, x, hx)
    last_hidden, last_cells = [], []
    for layer in range(module.num_layers):
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            steps = x.flip(0) if direction else x
            out, h, c = _layer(module, steps, hidden[index], cells[index], suffix)
            outputs.append(out.flip(0) if direction else out)
            last_hidden.append(h)
            last_cells.append(c)
        x = torch.cat(outputs, dim=2)
    final: Any = torch.stack(last_hidden)
    if isinstance(module, nn.LSTM):
        final = (final, torch.stack(last_cells))
    return (x.transpose(0, 1) if module.batch_first else x), final


def _initial(module: nn.RNNBase, x: Float[Tensor, "T B I"], hx: Any) -> tuple[Tensor, Tensor]:
    if hx is not None:
        return hx if isinstance(module, nn.LSTM) else (hx, hx)
    states = module.num_layers * (2 if module.bidirectional else 1)
    cells = x.new_zeros(states, x.shape[1], module.hidden_size)
    if not module.proj_size:
        return cells, cells
    return x.new_zeros(states, x.shape[1], module.proj_size), cells


def _layer(
    module: nn.RNNBase, x: Float[Tensor, "T B I"], h: Tensor, c: Tensor, suffix: str
) -> tuple[Float[Tensor, "T B H"], Tensor, Tensor]:
    """One layer in one direction: outputs of all steps, and the last state."""
    # A parametrization computes them when they are asked for.
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = (
        getattr(module, f"{name}{suffix}", None) for name in names
    )
    assert weight_ih is not None
    assert weight_hh is not None
    out = []
    for from_input in linear(x, weight_ih, bias_ih).unbind(0):
        from_state = linear(h, weight_hh, bias_hh)
        h, c = next_state(module, from_input, from_state, h, c)
        if weight_hr is not None:
            h = linear(h, weight_hr)
        out.append(h)
    return torch.stack(out), h, c
