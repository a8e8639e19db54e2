"""`nn.MultiheadAttention`: linear maps, and between them attention without parameters."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as apply_linear
from torch.nn.functional import pad, scaled_dot_product_attention

from headwater.capture.rules.linear import linear
from headwater.capture.stand_in import Note, register_stand_in
from headwater.forms import Factored, Materialised

if TYPE_CHECKING:
    from jaxtyping import Float

    from headwater.capture.layer_call import LayerCall
    from headwater.forms import Form
    from headwater.forms.gradients import Block


def multihead_attention(
    module: nn.MultiheadAttention,
    note: Note,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Any:
    """Batched queries of any kind of mask; not `add_bias_kv`, `add_zero_attn`, nested tensors."""
    usual = module.bias_k is None and module.bias_v is None and not module.add_zero_attn
    # A hint without the mask that it is about is for the layer itself to refuse.
    unclear = is_causal and attn_mask is None
    if not usual or unclear or query.dim() != 3 or query.is_nested or module.training:
        return NotImplemented
    if not module.batch_first:
        # One after the other, since projections of one and the same tensor are made at once.
        same_key, same_value = key is query, value is key
        query = query.transpose(0, 1)
        key = query if same_key else key.transpose(0, 1)
        value = key if same_value else value.transpose(0, 1)
    queries, keys, values = (
        projected.unflatten(2, (module.num_heads, -1)).transpose(1, 2)
        for projected in _projected(module, note, query, key, value)
    )
    mask = _added(attn_mask, key_padding_mask, queries, keys)
    weights = None
    if need_weights:
        products = (queries / math.sqrt(queries.shape[-1])) @ keys.mT
        weights = torch.softmax(products if mask is None else products + mask, dim=-1)
        mixed = weights @ values
    else:
        mixed = scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    # Steps first in memory, as the layer's own output is: a model that views it may rely on that.
    joined = mixed.permute(2, 0, 1, 3).flatten(2)
    last = module.out_proj
    # What is noted is no view, whose place in the graph would be gone if the model wrote to it.
    flat = joined.flatten(0, 1)
    out = apply_linear(flat, last.weight, last.bias)
    note(last, (flat,), out, partial(_steps_first, rows=len(mixed)))
    out = out.view(*joined.shape[:2], -1)
    if weights is not None and average_attn_weights:
        weights = weights.mean(dim=1)
    return (out.transpose(0, 1) if module.batch_first else out), weights


def _projected(
    module: nn.MultiheadAttention, note: Note, query: Tensor, key: Tensor, value: Tensor
) -> list[Float[Tensor, "B S E"]]:
    width = module.embed_dim
    bias = module.in_proj_bias
    biases = (None, None, None) if bias is None else bias.split(width)
    joint: Tensor | None = module.in_proj_weight
    if joint is None:
        weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        found = []
        for place, name in enumerate(names):
            inputs = (query, key, value)[place]
            out = apply_linear(inputs, weights[place], biases[place])
            note(module, (inputs,), out, partial(_own_map, name=name, place=place))
            found.append(out)
        return found
    if query is key and key is value:
        out = apply_linear(query, joint, bias)
        note(module, (query,), out, partial(_joint_map, first=0))
        return list(out.split(width, dim=2))
    found = []
    for place, inputs in enumerate((query, key, value)):
        rows = slice(place * width, (place + 1) * width)
        out = apply_linear(inputs, joint[rows], biases[place])
        note(module, (inputs,), out, partial(_joint_map, first=place * width))
        found.append(out)
    return found


def _joint_map(call: LayerCall, *, first: int) -> dict[Block, Form]:
    """Rows from `first` on of the weight that queries, keys and values share."""
    module = call.module
    assert isinstance(module, nn.MultiheadAttention)
    inputs = call.by_example(call.input, trailing=1)
    grads = call.by_example(call.output_grad, trailing=1)
    if grads.shape[2] < 3 * module.embed_dim:
        grads = pad(grads, (first, 3 * module.embed_dim - first - grads.shape[2]))
    bias = "in_proj_bias" in call.wanted
    if call.wanted == {"in_proj_bias"}:
        return {("in_proj_bias",): Materialised(grads.sum(dim=1))}
    form = Factored(inputs[:, None], grads[:, None], bias=bias)
    return {("in_proj_weight", "in_proj_bias") if bias else ("in_proj_weight",): form}


def _own_map(call: LayerCall, *, name: str, place: int) -> dict[Block, Form]:
    """A weight of queries, keys or values alone; their biases are one parameter all the same."""
    module = call.module
    assert isinstance(module, nn.MultiheadAttention)
    inputs = call.by_example(call.input, trailing=1)
    grads = call.by_example(call.output_grad, trailing=1)
    width = module.embed_dim
    forms: dict[Block, Form] = {(name,): Factored(inputs[:, None], grads[:, None])}
    if module.in_proj_bias is not None:
        rows = pad(grads.sum(dim=1), (place * width, (2 - place) * width))
        forms["in_proj_bias",] = Materialised(rows)
    return forms


def _steps_first(call: LayerCall, *, rows: int) -> dict[Block, Form]:
    """A linear map of (L * rows, E): the first step of all sequences, then the second."""
    inputs, grads = (
        tuple(
            None if part is None else part.unflatten(0, (-1, rows)).transpose(0, 1)
            for part in parts
        )
        for parts in (call.args, call.output_grads)
    )
    return linear(replace(call, args=inputs, output_grads=grads))


def _added(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, queries: Tensor, keys: Tensor
) -> Tensor | None:
    """Both masks as numbers to be added to products, (B, H, L, S) or what broadcasts to it."""
    masks = []
    if attn_mask is not None:
        if attn_mask.dim() == 3:
            attn_mask = attn_mask.unflatten(0, queries.shape[:2])
        masks.append(_as_numbers(attn_mask, queries))
    if key_padding_mask is not None:
        masks.append(_as_numbers(key_padding_mask, queries)[:, None, None, :])
    return sum(masks[1:], masks[0]) if masks else None


def _as_numbers(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    # True is what must not be looked at.
    return torch.zeros(mask.shape, dtype=like.dtype, device=like.device).masked_fill_(
        mask, -math.inf
    )


register_stand_in(nn.MultiheadAttention, multihead_attention)
