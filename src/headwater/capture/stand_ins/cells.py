"""`nn.LSTMCell`, `nn.GRUCell`, `nn.RNNCell`: the linear maps of one step of a recurrence."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from headwater.capture.stand_in import Note, register_stand_in
from headwater.capture.stand_ins.named_map import named_map

if TYPE_CHECKING:
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
    is_lstm = isinstance(module, nn.LSTMCell)
    if hx is None:
        zeros = input.new_zeros(len(input), module.hidden_size)
        hx = (zeros, zeros) if is_lstm else zeros
    h = hx[0] if is_lstm else hx
    from_input, from_state = (
        note(
            module,
            (x,),
            linear(x, getattr(module, f"weight_{part}"), getattr(module, f"bias_{part}")),
            partial(_by_part, part=part),
        )
        for x, part in ((input, "ih"), (h, "hh"))
    )
    if is_lstm:
        i, f, g, o = (from_input + from_state).chunk(4, dim=1)
        c = f.sigmoid() * hx[1] + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    if isinstance(module, nn.RNNCell):
        total = from_input + from_state
        return total.tanh() if module.nonlinearity == "tanh" else total.relu()
    # A candidate n takes its share of the state after the reset.
    reset, update, new = from_input.chunk(3, dim=1)
    own_reset, own_update, own_new = from_state.chunk(3, dim=1)
    n = (new + (reset + own_reset).sigmoid() * own_new).tanh()
    return torch.lerp(n, h, (update + own_update).sigmoid())


def _by_part(call: LayerCall, *, part: str) -> dict[Block, Form]:
    """The map of inputs, ih, or of states, hh."""
    inputs, grads = (
        call.by_example(tensor, trailing=1) for tensor in (call.input, call.output_grad)
    )
    return named_map(call, inputs, grads, weight=f"weight_{part}", bias=f"bias_{part}")


for cell_type in (nn.LSTMCell, nn.GRUCell, nn.RNNCell):
    register_stand_in(cell_type, recurrent_cell)
