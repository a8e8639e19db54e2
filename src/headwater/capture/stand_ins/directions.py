"""A recurrent layer's layers and directions, one after the other, whatever computes each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

    from headwater.capture.stand_ins.sequences import Sequences


class OneDirection(Protocol):
    """Goes through the steps of one layer in one direction."""

    def __call__(
        self, x: Tensor, h: Float[Tensor, "B H"], c: Float[Tensor, "B H"], suffix: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of all steps, and the last state, an LSTM's with its cell.

        Args:
            x: what comes in, in the order of the direction.
            h, c: the first state, and an LSTM's cell; of others h once more.
            suffix: how the names of its parameters end.
        """


def all_directions(
    module: nn.RNNBase, x: Tensor, state: Any, sequences: Sequences, one: OneDirection
) -> tuple[Tensor, Any]:
    """The last layer's outputs, and the last state of every layer and direction.

    Args:
        module: the recurrent layer.
        x: its inputs, as `sequences` lays them out.
        state: what it was called with; None is zero.
        sequences: how steps lie in memory.
        one: computes a layer in a direction.
    """
    directions = 2 if module.bidirectional else 1
    hidden, cells = _initial(module, x, state, sequences)
    last_hidden, last_cells = [], []
    for layer in range(module.num_layers):
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            steps = sequences.reversed(x) if direction else x
            out, h, c = one(steps, hidden[index], cells[index], suffix)
            outputs.append(sequences.reversed(out) if direction else out)
            last_hidden.append(h)
            last_cells.append(c)
        x = outputs[0] if directions == 1 else sequences.joined(outputs)
    final: Any = torch.stack(last_hidden)
    if isinstance(module, nn.LSTM):
        final = (final, torch.stack(last_cells))
    return x, final


def _initial(
    module: nn.RNNBase, x: Tensor, state: Any, sequences: Sequences
) -> tuple[Tensor, Tensor]:
    if state is not None:
        return state if isinstance(module, nn.LSTM) else (state, state)
    count = x.shape[0] if sequences.counts is None else sequences.counts[0]
    shape = (module.num_layers * (2 if module.bidirectional else 1), count)
    cells = x.new_zeros(*shape, module.hidden_size)
    return (x.new_zeros(*shape, module.proj_size) if module.proj_size else cells), cells
