"""`nn.LSTMCell`, `nn.GRUCell`, `nn.RNNCell`: the linear maps of one step of a recurrence."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from headwater.capture.stand_in import Note, register_stand_in
from headwater.capture.stand_ins.gates import next_state
from headwater.capture.stand_ins.named_map import named_map

if TYPE_CHECKING:
    from jaxtyping import Float

    from headwater.capture.layer_call import LayerCall
    from headwater.forms import Form
    from headwater.forms.gradients import Block


def recurrent_cell(module: nn.RNNCellBase, note: Note, input: Any, hx: Any = None) -> Any:
    """Batched inputs and states, weights that are parameters of the cell's own."""
    if (
        not isinstance(input, Tensor)
        or input.dim() != 2
        or any(name not in module._parameters for name in ("weight_ih", "weight_hh"))
        # Whose products are in another precision than states.
        or torch.is_autocast_enabled(input.device.type)
    ):
        return NotImplemented
    return step(module, note, input, hx)


def step(module: nn.RNNCellBase, note: Note | None, x: Float[Tensor, "B I"], hx: Any) -> Any:
    """What a cell returns.

    Args:
        module: the cell.
        note: notes its linear maps; None for nobody.
        x: the step's input.
        hx: the state, of an LSTM with its cell; None is zero.
    """
    if hx is None:
        hx = x.new_zeros(len(x), module.hidden_size)
        hx = (hx, hx) if isinstance(module, nn.LSTMCell) else hx
    h, c = hx if isinstance(module, nn.LSTMCell) else (hx, hx)
    mapped = []
    for inputs, part in ((x, "ih"), (h, "hh")):
        weight, bias = getattr(module, f"weight_{part}"), getattr(module, f"bias_{part}")
        out = linear(inputs, weight, bias)
        if note is not None:
            out = note(module, (inputs,), out, partial(_by_part, part=part))
        mapped.append(out)
    from_input, from_state = mapped
    h, c = next_state(module, from_input, from_state, h, c)
    return (h, c) if isinstance(module, nn.LSTMCell) else h


def _by_part(call: LayerCall, *, part: str) -> dict[Block, Form]:
    """The map of inputs, ih, or of states, hh."""
    inputs, grads = (
        call.by_example(tensor, trailing=1) for tensor in (call.input, call.output_grad)
    )
    return named_map(call, inputs, grads, weight=f"weight_{part}", bias=f"bias_{part}")


for cell_type in (nn.LSTMCell, nn.GRUCell, nn.RNNCell):
    register_stand_in(cell_type, recurrent_cell)
