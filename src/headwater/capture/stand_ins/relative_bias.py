"""T5's relative position bias: looked up once for all examples, and added to each one's scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from headwater.capture.stand_in import Note, recognise_stand_in
from headwater.forms import Rows

if TYPE_CHECKING:
    from headwater.capture.layer_call import LayerCall
    from headwater.forms import Form
    from headwater.forms.gradients import Block

_TABLE = "relative_attention_bias"


def has_relative_bias(module: nn.Module) -> bool:
    """Whether it is an attention that makes its bias by `compute_bias` from a table."""
    table = module._modules.get(_TABLE)
    return type(table) is nn.Embedding and hasattr(module, "compute_bias")


def with_bias_per_example(
    module: nn.Module, note: Note, hidden_states: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """The attention's own forward, with a bias (1, heads, S, S) repeated once per example.

    The gradient at the repeated one holds each example's own.
    """
    table = module._modules[_TABLE]
    assert isinstance(table, nn.Embedding)
    noting = _Noting(table)

    def compute_bias(*args: Any, **kwargs: Any) -> Tensor:
        module._modules[_TABLE] = noting
        try:
            bias: Tensor = type(module).compute_bias(module, *args, **kwargs)  # type: ignore[attr-defined]
        finally:
            module._modules[_TABLE] = table
        each = bias.expand(len(hidden_states), *bias.shape[1:]).clone()
        note(table, (noting.ids,), each, _per_example)
        return each

    module.compute_bias = compute_bias  # type: ignore[assignment]
    try:
        return type(module).forward(module, hidden_states, *args, **kwargs)
    finally:
        del module.compute_bias


class _Noting(nn.Module):
    """In the place of a table: looks up the same, without its hooks, and remembers what."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        # Not registered: it stays the table's own.
        self.__dict__["weight"] = table.weight
        self.ids = torch.empty(0)

    def forward(self, ids: Tensor) -> Tensor:
        self.ids = ids
        return functional.embedding(ids, self.__dict__["weight"])


def _per_example(call: LayerCall) -> dict[Block, Form]:
    grads = call.output_grad
    ids = call.args[0].reshape(1, -1).expand(len(grads), -1)
    values = grads.movedim(1, -1).flatten(1, 2)
    table = call.module
    assert isinstance(table, nn.Embedding)
    return {("weight",): Rows(ids, values, table.num_embeddings)}


recognise_stand_in(has_relative_bias, with_bias_per_example)
