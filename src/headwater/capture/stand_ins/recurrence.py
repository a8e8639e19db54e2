"""The recurrences of `nn.LSTM`, `nn.GRU` and `nn.RNN` as one operation over all steps.

Written out by hand, forward and backward, since autograd's graph of hundreds of small operations
per sequence takes several times as long. They differentiate by the gates and the first state, and
not by the weights: that product is what capturing does without.

What the gates become is written over them, and their gradients over that: nothing else reads them,
and memory that is touched for the first time costs more than what is computed in it. Going back a
second time is an error of autograd's.

B sequences, T steps, H numbers in a state; `weight` is (G, H) with the gates in torch's order.
Gates and what is returned are (B, T, ...), or packed: (L, ...), the first steps of all sequences,
then the second steps of those that have one, the longest sequence first; `counts` says how many
have each step. What is returned for (B, T, ...) has the steps first in memory, as torch's layers
lay it out: a model that views it may rely on that.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float, Int

Counts: TypeAlias = tuple[int, ...] | None

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def _written_over(gates: Tensor) -> Tensor:
    """The gates' memory, with a count of writes of its own.

    Theirs would move the gates' place in the graph, where gradients are asked for.
    """
    return gates.data


def _at_steps(tensor: Tensor, counts: Counts) -> tuple[Tensor, ...]:
    """The numbers of each step, of those that have it: views, all made at once."""
    return tensor.unbind(1) if counts is None else tensor.split(counts)


def _sizes(gates: Tensor, counts: Counts) -> tuple[int, ...]:
    """How many have each step."""
    return (gates.shape[0],) * gates.shape[1] if counts is None else counts


def _before(first: Tensor, states: Sequence[Tensor]) -> Iterator[Tensor]:
    """The state that every step starts from, of those that have the step."""
    yield first
    for state, after in itertools.pairwise(states):
        yield state[: len(after)]


def _steps_first(like: Tensor, width: int, counts: Counts) -> Tensor:
    """Memory for that many numbers at every step of everybody.

    No transposed view of it: what a function returns may not be written to if it is a view.
    """
    if counts is not None:
        return like.new_empty(len(like), width)
    examples, steps, _ = like.shape
    return like.new_empty_strided((examples, steps, width), (width, examples * width, 1))


def _by_step(gates: Tensor, width: int, counts: Counts) -> Iterator[tuple[Tensor, ...]]:
    """At every step the G gates apart."""
    return zip(*(_at_steps(gate, counts) for gate in gates.split(width, dim=-1)), strict=True)


class LSTMRecurrence(Function):
    """c' = f c + i g, h' = o tanh(c'), with gates i, f, g, o.

    The bias goes with the states, as the weight of a state that is always 1: added to the gates
    before, it would be written to all of their memory first.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "*steps 4H"],
        weight: Tensor,
        bias: Float[Tensor, " 4H"] | None,
        h: Float[Tensor, "B H"],
        c: Float[Tensor, "B H"],
        counts: Counts,
        last: Int[Tensor, " B"] | None,
    ) -> tuple[Float[Tensor, "*steps H"], Float[Tensor, "B H"]]:
        width, sizes = h.shape[1], _sizes(gates, counts)
        activated = _written_over(gates)
        cells, curved = (gates.new_empty(sum(sizes), width) for _ in range(2))
        out = _steps_first(gates, width, counts)
        weights = weight.mT if bias is None else torch.cat([weight.mT, bias[None]])
        weights = weights.contiguous()
        states = gates.new_ones(len(h), len(weights))
        state = states[:, :width]
        state.copy_(h)
        by_step = cells.split(sizes)
        for z, both, (i, f, g, o), before, cell, bent, result in zip(
            _at_steps(activated, counts),
            _at_steps(activated[..., : 2 * width], counts),
            _by_step(activated, width, counts),
            _before(c, by_step),
            by_step,
            curved.split(sizes),
            _at_steps(out, counts),
            strict=True,
        ):
            if len(z) < len(states):
                states = states[: len(z)]
                state = states[:, :width]
            z.addmm_(states, weights)
            both.sigmoid_()
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, before, out=cell).addcmul_(i, g)
            torch.tanh(cell, out=bent)
            torch.mul(o, bent, out=state)
            result.copy_(state)
        ctx.counts = counts
        ctx.save_for_backward(activated, cells, curved, weight, c)
        return out, by_step[-1].clone() if last is None else cells[last]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor, cell_grad: Tensor) -> Any:
        activated, cells, curved, weight, c = ctx.saved_tensors
        counts = ctx.counts
        sizes = _sizes(activated, counts)
        dc = cell_grad.clone()
        whole = (torch.zeros_like(dc), dc, *(torch.empty_like(dc) for _ in range(3)))
        steps = zip(
            _at_steps(activated, counts),
            _by_step(activated, dc.shape[1], counts),
            _before(c, cells.split(sizes)),
            curved.split(sizes),
            _at_steps(out_grad, counts),
            strict=True,
        )
        now = [part[:0] for part in whole]
        for z, (i, f, g, o), before, bent, added in reversed(list(steps)):
            if len(z) > len(now[0]):
                now = [part[: len(z)] for part in whole]
            dh, dc, part, at_i, at_g = now
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
        return activated, None, None, *now[:2], None, None


class GRURecurrence(Function):
    """n = tanh(n_x + r (W_n h + b_n)), h' = (1 - z) n + z h, with gates r, z, n.

    `added` is zero; the gradient at it is that at what states add to the gates.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "*steps 3H"],
        added: Float[Tensor, "*steps 3H"],
        weight: Tensor,
        bias: Tensor | None,
        h: Float[Tensor, "B H"],
        counts: Counts,
    ) -> Float[Tensor, "*steps H"]:
        width, sizes = h.shape[1], _sizes(gates, counts)
        activated = _written_over(gates)
        recalled, states = (gates.new_empty(sum(sizes), width) for _ in range(2))
        out = _steps_first(gates, width, counts)
        transposed = weight.mT.contiguous()
        by_step = states.split(sizes)
        for z, before, state, recall, result in zip(
            _at_steps(activated, counts),
            _before(h, by_step),
            by_step,
            recalled.split(sizes),
            _at_steps(out, counts),
            strict=True,
        ):
            from_state = before @ transposed
            if bias is not None:
                from_state += bias
            both = z[:, : 2 * width].add_(from_state[:, : 2 * width]).sigmoid_()
            reset, update = both.split(width, dim=1)
            recall.copy_(from_state[:, 2 * width :])
            new = z[:, 2 * width :].addcmul_(reset, recall).tanh_()
            torch.lerp(new, before, update, out=state)
            result.copy_(state)
        ctx.counts = counts
        ctx.save_for_backward(activated, recalled, states, weight, h)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor) -> Any:
        activated, recalled, states, weight, h = ctx.saved_tensors
        width, counts = h.shape[1], ctx.counts
        sizes = _sizes(activated, counts)
        from_states = torch.empty_like(activated)
        steps = zip(
            _by_step(activated, width, counts),
            _at_steps(activated[..., : 2 * width], counts),
            _at_steps(from_states, counts),
            _before(h, states.split(sizes)),
            recalled.split(sizes),
            _at_steps(out_grad, counts),
            strict=True,
        )
        whole = torch.zeros_like(h)
        for (r, z, n), both, at_state, before, recall, added in reversed(list(steps)):
            dh = whole[: len(r)]
            dh += added
            kept = dh * z
            dz = (before - n).mul_(dh)
            dn = (1 - z).mul_(dh)
            _sigmoid_backward(dz, z, grad_input=z)
            _tanh_backward(dn, n, grad_input=n)
            torch.mul(n, r, out=at_state[:, 2 * width :])
            _sigmoid_backward(n * recall, r, grad_input=r)
            at_state[:, : 2 * width] = both
            torch.addmm(kept, at_state, weight, out=dh)
        return activated, from_states, None, None, whole, None


class RNNRecurrence(Function):
    """h' = tanh or relu of the gates."""

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "*steps H"],
        weight: Tensor,
        h: Float[Tensor, "B H"],
        nonlinearity: str,
        counts: Counts,
    ) -> Float[Tensor, "*steps H"]:
        out = _steps_first(gates, gates.shape[-1], counts)
        transposed = weight.mT.contiguous()
        by_step = _at_steps(out, counts)
        for z, before, result in zip(
            _at_steps(gates, counts), _before(h, by_step), by_step, strict=True
        ):
            total = torch.addmm(z, before, transposed)
            result.copy_(total.tanh_() if nonlinearity == "tanh" else total.relu_())
        ctx.counts = counts
        ctx.save_for_backward(out, weight)
        ctx.nonlinearity = nonlinearity
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor) -> Any:
        out, weight = ctx.saved_tensors
        slopes = 1 - out * out if ctx.nonlinearity == "tanh" else (out > 0).to(out.dtype)
        by_step = _at_steps(slopes, ctx.counts)
        whole = slopes.new_zeros(by_step[0].shape)
        for slope, added in reversed(
            list(zip(by_step, _at_steps(out_grad, ctx.counts), strict=True))
        ):
            dh = whole[: len(slope)]
            slope *= dh + added
            torch.mm(slope, weight, out=dh)
        return slopes, None, whole, None, None
