"""What a recurrent layer makes of its gates at one step, in operations that autograd follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


def next_state(
    module: nn.RNNBase | nn.RNNCellBase,
    from_input: Float[Tensor, "B G"],
    from_state: Float[Tensor, "B G"],
    h: Float[Tensor, "B H"],
    c: Float[Tensor, "B H"],
) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
    """The state after a step, and an LSTM's cell, which others hand on as it is.

    Args:
        module: an LSTM, GRU or RNN, or a cell of one.
        from_input, from_state: what its two linear maps make of a step's input and of the state.
        h, c: the state before, and the cell.
    """
    if isinstance(module, (nn.LSTM, nn.LSTMCell)):
        i, f, g, o = (from_input + from_state).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    if isinstance(module, (nn.GRU, nn.GRUCell)):
        reset, update, new = from_input.chunk(3, dim=1)
        own_reset, own_update, own_new = from_state.chunk(3, dim=1)
        # The candidate: what the state adds to it is reset first.
        n = (new + (reset + own_reset).sigmoid() * own_new).tanh()
        return torch.lerp(n, h, (update + own_update).sigmoid()), c
    total = from_input + from_state
    return (total.tanh() if module.nonlinearity == "tanh" else total.relu()), c
