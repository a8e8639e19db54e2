"""The recurrences of `nn.LSTM`, `nn.GRU` and `nn.RNN` as one operation over all steps.

Written out by hand, forward and backward, since autograd's graph of hundreds of small operations
per sequence takes several times as long. They differentiate by the gates and the first state, and
not by the weights: that product is what capturing does without.

T steps, B examples, H numbers in a state; `weight` is (G, H) with the gates in torch's order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from jaxtyping import Float


def _product(
    gates: Float[Tensor, "B G"], weight: Tensor, bias: Tensor | None, h: Tensor
) -> Float[Tensor, "B G"]:
    """The gates with what the state adds to them."""
    total = torch.addmm(gates, h, weight.mT)
    return total if bias is None else total.add_(bias)


class LSTMRecurrence(Function):
    """c' = f c + i g, h' = o tanh(c'), with gates i, f, g, o."""

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "T B 4H"],
        weight: Tensor,
        bias: Tensor | None,
        h: Float[Tensor, "B H"],
        c: Float[Tensor, "B H"],
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B H"]]:
        width = h.shape[1]
        steps = gates.shape[0]
        activated = torch.empty_like(gates, memory_format=torch.contiguous_format)
        cells = gates.new_empty(steps + 1, *c.shape)
        curved = gates.new_empty(steps, *c.shape)
        out = gates.new_empty(steps, *h.shape)
        cells[0] = c
        transposed = weight.mT.contiguous()
        plain = gates if bias is None else gates + bias
        for t in range(steps):
            z = torch.addmm(plain[t], h, transposed, out=activated[t])
            z[:, : 2 * width].sigmoid_()
            i, f, g, o = z.split(width, dim=1)
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g)
            torch.tanh(cells[t + 1], out=curved[t])
            h = torch.mul(o, curved[t], out=out[t])
        ctx.save_for_backward(activated, cells, curved, weight)
        return out, cells[steps].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor, cell_grad: Tensor) -> Any:
        activated, cells, curved, weight = ctx.saved_tensors
        width = curved.shape[2]
        i, f, g, o = activated.split(width, dim=2)
        # What the gradient at c' is multiplied by at gates i, f, g; at gate o it is that at h'.
        slopes = torch.empty_like(activated)
        at_i, at_f, at_g, at_o = slopes.split(width, dim=2)
        torch.addcmul(i, i, i, value=-1, out=at_i).mul_(g)
        torch.addcmul(f, f, f, value=-1, out=at_f).mul_(cells[:-1])
        torch.addcmul(i, i, g * g, value=-1, out=at_g)
        torch.addcmul(o, o, o, value=-1, out=at_o).mul_(curved)
        through = torch.addcmul(o, o, curved * curved, value=-1)
        grads = slopes.view(*slopes.shape[:2], 4, width)
        dh = torch.zeros_like(curved[0])
        dc = cell_grad.clone()
        for t in reversed(range(len(curved))):
            dh = dh.add_(out_grad[t])
            dc.addcmul_(dh, through[t])
            grads[t, :, :3].mul_(dc[:, None])
            grads[t, :, 3].mul_(dh)
            dc.mul_(f[t])
            dh = slopes[t] @ weight
        return slopes, None, None, dh, dc


class GRURecurrence(Function):
    """n = tanh(n_x + r (W_n h + b_n)), h' = (1 - z) n + z h, with gates r, z, n.

    `added` is zero; the gradient at it is that at what states add to the gates.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "T B 3H"],
        added: Float[Tensor, "T B 3H"],
        weight: Tensor,
        bias: Tensor | None,
        h: Float[Tensor, "B H"],
    ) -> Float[Tensor, "T B H"]:
        width, steps = h.shape[1], gates.shape[0]
        activated = torch.empty_like(gates, memory_format=torch.contiguous_format)
        recalled = gates.new_empty(steps, *h.shape)
        states = gates.new_empty(steps + 1, *h.shape)
        states[0] = h
        transposed = weight.mT.contiguous()
        for t in range(steps):
            from_state = states[t] @ transposed
            if bias is not None:
                from_state += bias
            z = activated[t]
            both = torch.add(
                gates[t, :, : 2 * width], from_state[:, : 2 * width], out=z[:, : 2 * width]
            )
            reset, update = both.sigmoid_().split(width, dim=1)
            recalled[t] = from_state[:, 2 * width :]
            new = z[:, 2 * width :]
            torch.addcmul(gates[t, :, 2 * width :], reset, recalled[t], out=new).tanh_()
            torch.lerp(new, states[t], update, out=states[t + 1])
        ctx.save_for_backward(activated, recalled, states, weight)
        return states[1:].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor) -> Any:
        activated, recalled, states, weight = ctx.saved_tensors
        width = recalled.shape[2]
        r, z, n = activated.split(width, dim=2)
        at_new = (1 - z) * (1 - n * n)
        at_update = (states[:-1] - n) * z * (1 - z)
        at_reset = recalled * r * (1 - r)
        grads = torch.empty_like(activated)
        from_states = torch.empty_like(activated)
        dh = torch.zeros_like(recalled[0])
        for t in reversed(range(len(recalled))):
            dh = dh + out_grad[t]
            dn = dh * at_new[t]
            torch.mul(dn, at_reset[t], out=grads[t, :, :width])
            torch.mul(dh, at_update[t], out=grads[t, :, width : 2 * width])
            grads[t, :, 2 * width :] = dn
            from_states[t, :, : 2 * width] = grads[t, :, : 2 * width]
            torch.mul(dn, r[t], out=from_states[t, :, 2 * width :])
            dh = torch.addmm(dh * z[t], from_states[t], weight)
        return grads, from_states, None, None, dh


class RNNRecurrence(Function):
    """h' = tanh or relu of the gates."""

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "T B H"],
        weight: Tensor,
        bias: Tensor | None,
        h: Float[Tensor, "B H"],
        nonlinearity: str,
    ) -> Float[Tensor, "T B H"]:
        out = torch.empty_like(gates, memory_format=torch.contiguous_format)
        for t in range(gates.shape[0]):
            total = _product(gates[t], weight, bias, h)
            h = total.tanh_() if nonlinearity == "tanh" else total.relu_()
            out[t] = h
        ctx.save_for_backward(out, weight)
        ctx.nonlinearity = nonlinearity
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor) -> Any:
        out, weight = ctx.saved_tensors
        slopes = 1 - out * out if ctx.nonlinearity == "tanh" else (out > 0).to(out.dtype)
        dh = torch.zeros_like(out[0])
        for t in reversed(range(len(out))):
            slopes[t] *= dh + out_grad[t]
            dh = slopes[t] @ weight
        return slopes, None, None, dh, None
