"""`nn.LSTM`, `nn.GRU`, `nn.RNN`: linear maps of inputs and of states, at every step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as apply_linear
from torch.nn.utils.rnn import PackedSequence

from headwater.capture.stand_in import Note, register_stand_in
from headwater.capture.stand_ins.directions import all_directions
from headwater.capture.stand_ins.named_map import named_map
from headwater.capture.stand_ins.recurrence import GRURecurrence, LSTMRecurrence, RNNRecurrence
from headwater.capture.stand_ins.sequences import OfOneLength, Packed, Sequences

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

    from headwater.capture.layer_call import LayerCall
    from headwater.forms import Form
    from headwater.forms.gradients import Block

# mypy knows `Function.apply` as untyped.
_lstm: Any = LSTMRecurrence.apply
_gru: Any = GRURecurrence.apply
_rnn: Any = RNNRecurrence.apply

# (B, T, I): inputs, examples first, or packed, (L, I); H: the width of a state; G: H times the
# number of gates.


def recurrent(module: nn.RNNBase, note: Note, *args: Any, **kwargs: Any) -> Any:
    """Batched sequences of one length or packed, weights that are parameters of the layer's own.

    Not `proj_size`, a single sequence, nor weights that `weight_norm` or another parametrization
    computes. Packed sequences that don't say how they were sorted are taken to be in the batch's
    order; of a model that sorts its batch itself, that shows where it is sorted back (`disorder`).
    """
    inputs: Any = args[0] if args else kwargs.get("input")
    state = args[1] if len(args) > 1 else kwargs.get("hx")
    packed = isinstance(inputs, PackedSequence)
    data = inputs.data if packed else inputs
    if (
        not isinstance(data, Tensor)
        or data.dim() != (2 if packed else 3)
        or module.proj_size
        or any(name not in module._parameters for name in module._flat_weights_names)
        or module.training
        or not data.numel()
        # Whose products are in another precision than states.
        or torch.is_autocast_enabled(data.device.type)
    ):
        return NotImplemented
    if packed:
        sequences = Packed(inputs)
        state = _each(sequences.by_length, state)
        one = partial(_layer, module, note, sequences)
        out, final = all_directions(module, data, state, sequences, one)
        return sequences.packed(out), _each(sequences.in_order, final)
    x = data if module.batch_first else data.transpose(0, 1)
    steps = OfOneLength()
    out, final = all_directions(module, x, state, steps, partial(_layer, module, note, steps))
    return (out if module.batch_first else out.transpose(0, 1)), final


def _each(change: Callable[[Tensor], Tensor], state: Any) -> Any:
    """What becomes of a layer's state: none, a tensor, or the two of an LSTM."""
    if state is None:
        return None
    return change(state) if isinstance(state, Tensor) else tuple(map(change, state))


def _layer(
    module: nn.RNNBase,
    note: Note,
    sequences: Sequences,
    x: Float[Tensor, "*steps I"],
    h: Tensor,
    c: Tensor,
    suffix: str,
) -> tuple[Float[Tensor, "*steps H"], Tensor, Tensor]:
    """One layer in one direction: outputs of all steps, and the last state."""
    # Tied ones have several names, of which `named_parameters` tells the first.
    weights: dict[str, Any] = module._parameters
    bias_ih, bias_hh = (weights.get(f"bias_{part}{suffix}") for part in ("ih", "hh"))
    is_lstm, has_own_bias = isinstance(module, nn.LSTM), isinstance(module, nn.GRU)
    added = bias_ih
    if not has_own_bias and bias_ih is not None and bias_hh is not None:
        added = bias_ih + bias_hh
    from_inputs = apply_linear(x, weights[f"weight_ih{suffix}"], None if is_lstm else added)
    if not from_inputs.requires_grad:
        from_inputs.requires_grad_()
    # No gradient is asked at these weights: a rule makes it of what is noted.
    weight = weights[f"weight_hh{suffix}"].detach()
    # What a step's state adds to the gates, gradients at which are asked for; it is zero, so that
    # the recurrence can do without a product of its own per step in the graph.
    from_states, counts = from_inputs, sequences.counts
    if is_lstm:
        bias = None if added is None else added.detach()
        out, c = _lstm(from_inputs, weight, bias, h, c, counts, sequences.last)
    elif has_own_bias:
        bias = None if bias_hh is None else bias_hh.detach()
        from_states = x.new_zeros(()).expand_as(from_inputs).requires_grad_()
        out = _gru(from_inputs, from_states, weight, bias, h, counts)
    else:
        out = _rnn(from_inputs, weight, h, module.nonlinearity, counts)
    before = sequences.before(h, out).detach()
    note(module, (x,), from_inputs, partial(_by_step, sequences, part="ih", suffix=suffix))
    note(module, (before,), from_states, partial(_by_step, sequences, part="hh", suffix=suffix))
    return out, sequences.at_the_end(out), c


def _by_step(sequences: Sequences, call: LayerCall, *, part: str, suffix: str) -> dict[Block, Form]:
    """A linear map at every step."""
    inputs, grads = (
        sequences.by_example(steps, call.batch_size) for steps in (call.input, call.output_grad)
    )
    weight, bias = f"weight_{part}{suffix}", f"bias_{part}{suffix}"
    return named_map(call, inputs, grads, weight=weight, bias=bias)


for layer_type in (nn.LSTM, nn.GRU, nn.RNN):
    register_stand_in(layer_type, recurrent)
