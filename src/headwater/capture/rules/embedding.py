"""Lookup tables: the gradient lies in the rows that were looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from headwater.capture.layer_call import LayerCall, NotPerExample
from headwater.capture.registry import register_rule
from headwater.forms import Form, Rows

if TYPE_CHECKING:
    from jaxtyping import Int

    from headwater.forms.gradients import Block


def embedding(call: LayerCall) -> dict[Block, Form]:
    """`nn.Embedding`; what is looked up at `padding_idx` isn't learned, so it has no gradient."""
    module = call.module
    assert isinstance(module, nn.Embedding)
    if module.scale_grad_by_freq:
        raise NotPerExample("scale_grad_by_freq divides by counts over the whole batch")
    ids = call.by_example(call.input, trailing=0)
    values = call.by_example(call.output_grad, trailing=1)
    if module.padding_idx is not None:
        values = values.masked_fill((ids == module.padding_idx)[..., None], 0)
    return {("weight",): Rows(ids, values, module.num_embeddings)}


def embedding_bag(call: LayerCall) -> dict[Block, Form]:
    """`nn.EmbeddingBag` by sum or mean, bags as rows of ids or by offsets."""
    module = call.module
    assert isinstance(module, nn.EmbeddingBag)
    if module.mode == "max" or module.scale_grad_by_freq:
        raise NotPerExample(f"no rule for mode={module.mode!r} or scale_grad_by_freq")
    arguments = dict(zip(("input", "offsets", "per_sample_weights"), call.args, strict=False))
    arguments.update(call.kwargs)
    ids, weights = arguments["input"], arguments.get("per_sample_weights")
    values = call.output_grad
    if ids.dim() == 1:
        bags = _bags(arguments["offsets"], len(ids), include_last=module.include_last_offset)
        # Position 0 stands in where a bag is shorter than the longest: its weight there is 0.
        used = bags >= 0
        ids = ids[bags.clamp(min=0)]
        weights = used.to(values.dtype) * (1 if weights is None else weights[bags.clamp(min=0)])
    else:
        used = torch.ones_like(ids, dtype=torch.bool)
        weights = used.to(values.dtype) if weights is None else weights.to(values.dtype)
    if module.padding_idx is not None:
        used = used & (ids != module.padding_idx)
        weights = weights * used
    if module.mode == "mean":
        # An empty bag is zero, and so is its gradient.
        weights = weights / used.sum(dim=1, keepdim=True).clamp(min=1)
    rows = values[:, None, :] * weights[..., None]
    form = Rows(
        call.by_example(ids, trailing=0), call.by_example(rows, trailing=1), module.num_embeddings
    )
    return {("weight",): form}


def _bags(offsets: Int[Tensor, " B"], count: int, *, include_last: bool) -> Int[Tensor, "B S"]:
    """For each bag the places of its ids in the flat list, filled up with -1."""
    starts = offsets[:-1] if include_last else offsets
    end = offsets.new_tensor([count])
    stops = offsets[1:] if include_last else torch.cat([offsets[1:], end])
    longest = int((stops - starts).max()) if len(starts) else 0
    places = starts[:, None] + torch.arange(longest, device=offsets.device)
    return places.masked_fill(places >= stops[:, None], -1)


register_rule(nn.Embedding, embedding)
register_rule(nn.EmbeddingBag, embedding_bag)
