"""The recurrences of `nn.LSTM`, `nn.GRU` and `nn.RNN` as one operation over all steps.

Written out by hand, forward and backward, since autograd's graph of hundreds of small operations
per sequence takes several times as long. They differentiate by the gates and the first state, and
not by the weights: that product is what capturing does without.

What the gates become is written over them, and their gradients over that: nothing else reads them,
and memory that is touched for the first time costs more than what is computed in it. Going back a
second time is an error of autograd's.

B examples, T steps, H numbers in a state; `weight` is (G, H) with the gates in torch's order.
What they return is (B, T, H) whose memory has the steps first, as torch's layers lay it out: a
model that views it may rely on that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def _written_over(gates: Tensor) -> Tensor:
    """The gates' memory, with a count of writes of its own.

    Theirs would move the gates' place in the graph, where gradients are asked for.
    """
    return gates.data


def _steps_first(like: Float[Tensor, "B T _"], width: int) -> Float[Tensor, "B T W"]:
    """Memory for that many numbers at every step of every example.

    No transposed view of it: what a function returns may not be written to if it is a view.
    """
    examples, steps, _ = like.shape
    return like.new_empty_strided((examples, steps, width), (width, examples * width, 1))


def _by_step(gates: Float[Tensor, "B T GH"], width: int) -> Iterator[tuple[Tensor, ...]]:
    """At every step the G gates apart: views, all made at once, which takes less time."""
    return zip(*(gate.unbind(1) for gate in gates.split(width, dim=2)), strict=True)


class LSTMRecurrence(Function):
    """c' = f c + i g, h' = o tanh(c'), with gates i, f, g, o.

    The bias goes with the states, as the weight of a state that is always 1: added to the gates
    before, it would be written to all of their memory first.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "B T 4H"],
        weight: Tensor,
        bias: Float[Tensor, " 4H"] | None,
        h: Float[Tensor, "B H"],
        c: Float[Tensor, "B H"],
    ) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B H"]]:
        width, steps = h.shape[1], gates.shape[1]
        activated = _written_over(gates)
        cells = gates.new_empty(steps + 1, *c.shape)
        curved = gates.new_empty(steps, *c.shape)
        out = _steps_first(gates, width)
        cells[0] = c
        weights = weight.mT if bias is None else torch.cat([weight.mT, bias[None]])
        weights = weights.contiguous()
        states = gates.new_ones(len(h), len(weights))
        state = states[:, :width]
        state.copy_(h)
        of_cell = zip(cells[:-1], cells[1:], curved, strict=True)
        for z, both, (i, f, g, o), (before, cell, bent), result in zip(
            activated.unbind(1),
            activated[..., : 2 * width].unbind(1),
            _by_step(activated, width),
            of_cell,
            out.unbind(1),
            strict=True,
        ):
            z.addmm_(states, weights)
            both.sigmoid_()
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, before, out=cell).addcmul_(i, g)
            torch.tanh(cell, out=bent)
            torch.mul(o, bent, out=state)
            result.copy_(state)
        ctx.save_for_backward(activated, cells, curved, weight)
        return out, cells[steps].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor, cell_grad: Tensor) -> Any:
        activated, cells, curved, weight = ctx.saved_tensors
        dc = cell_grad.clone()
        dh, part, at_i, at_g = torch.zeros_like(dc), *(torch.empty_like(dc) for _ in range(3))
        steps = zip(
            activated.unbind(1),
            _by_step(activated, curved.shape[2]),
            cells[:-1],
            curved,
            out_grad.unbind(1),
            strict=True,
        )
        for z, (i, f, g, o), before, bent, added in reversed(list(steps)):
            dh += added
            torch.mul(dh, o, out=part)
            dc += _tanh_backward(part, bent, grad_input=part)
            torch.mul(dh, bent, out=part)
            _sigmoid_backward(part, o, grad_input=o)
            torch.mul(dc, before, out=part)
            # Gates i and g meet in the cell: both products before either is written over.
            torch.mul(dc, g, out=at_i)
            torch.mul(dc, i, out=at_g)
            dc *= f
            _sigmoid_backward(part, f, grad_input=f)
            _sigmoid_backward(at_i, i, grad_input=i)
            _tanh_backward(at_g, g, grad_input=g)
            torch.mm(z, weight, out=dh)
        return activated, None, None, dh, dc


class GRURecurrence(Function):
    """n = tanh(n_x + r (W_n h + b_n)), h' = (1 - z) n + z h, with gates r, z, n.

    `added` is zero; the gradient at it is that at what states add to the gates.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "B T 3H"],
        added: Float[Tensor, "B T 3H"],
        weight: Tensor,
        bias: Tensor | None,
        h: Float[Tensor, "B H"],
    ) -> Float[Tensor, "B T H"]:
        width, steps = h.shape[1], gates.shape[1]
        activated = _written_over(gates)
        recalled = gates.new_empty(steps, *h.shape)
        states = gates.new_empty(steps + 1, *h.shape)
        out = _steps_first(gates, width)
        states[0] = h
        transposed = weight.mT.contiguous()
        for t in range(steps):
            from_state = states[t] @ transposed
            if bias is not None:
                from_state += bias
            both = activated[:, t, : 2 * width].add_(from_state[:, : 2 * width]).sigmoid_()
            reset, update = both.split(width, dim=1)
            recalled[t] = from_state[:, 2 * width :]
            new = activated[:, t, 2 * width :].addcmul_(reset, recalled[t]).tanh_()
            torch.lerp(new, states[t], update, out=states[t + 1])
            out[:, t] = states[t + 1]
        ctx.save_for_backward(activated, recalled, states, weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor) -> Any:
        activated, recalled, states, weight = ctx.saved_tensors
        width = recalled.shape[2]
        from_states = torch.empty_like(activated)
        dh = torch.zeros_like(recalled[0])
        for t in reversed(range(len(recalled))):
            r, z, n = activated[:, t].split(width, dim=1)
            dh = dh + out_grad[:, t]
            kept = dh * z
            dz = (states[t] - n).mul_(dh)
            dn = (1 - z).mul_(dh)
            _sigmoid_backward(dz, z, grad_input=z)
            _tanh_backward(dn, n, grad_input=n)
            torch.mul(n, r, out=from_states[:, t, 2 * width :])
            _sigmoid_backward(n * recalled[t], r, grad_input=r)
            from_states[:, t, : 2 * width] = activated[:, t, : 2 * width]
            dh = torch.addmm(kept, from_states[:, t], weight)
        return activated, from_states, None, None, dh


class RNNRecurrence(Function):
    """h' = tanh or relu of the gates."""

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "B T H"],
        weight: Tensor,
        h: Float[Tensor, "B H"],
        nonlinearity: str,
    ) -> Float[Tensor, "B T H"]:
        out = _steps_first(gates, gates.shape[2])
        transposed = weight.mT.contiguous()
        for t in range(gates.shape[1]):
            total = torch.addmm(gates[:, t], h, transposed)
            h = total.tanh_() if nonlinearity == "tanh" else total.relu_()
            out[:, t] = h
        ctx.save_for_backward(out, weight)
        ctx.nonlinearity = nonlinearity
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor) -> Any:
        out, weight = ctx.saved_tensors
        slopes = 1 - out * out if ctx.nonlinearity == "tanh" else (out > 0).to(out.dtype)
        dh = torch.zeros_like(out[:, 0])
        for t in reversed(range(out.shape[1])):
            slopes[:, t] *= dh + out_grad[:, t]
            dh = slopes[:, t] @ weight
        return slopes, None, dh, None
