"""Checkpoints that hold an adapter alone, as PEFT saves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.adapters import adapter_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

# What PEFT puts before all keys in its files; an adapter that transformers added has it there only.
_PREFIX = "base_model.model."
_EMBEDDINGS = ("get_input_embeddings", "get_output_embeddings")


def match_adapter(model: nn.Module, state: Mapping[str, object]) -> dict[str, str] | None:
    """The state's key for each of the model's keys, if the state is one of the adapter alone.

    Embeddings may be there too, which PEFT saves along where the vocabulary has grown. What isn't
    there stays as it is in the model: the weights that the adapter was trained beside.

    Returns:
        None if the model has no active adapter, or the state is of something else.
    """
    parameters = adapter_parameters(model)
    if not parameters:
        return None
    others = _embedding_keys(model)
    for reading in (
        {one.name: one.saved_as for one in parameters},
        {one.name: f"{_PREFIX}{one.saved_as}" for one in parameters},
        {one.name: one.name for one in parameters},
    ):
        theirs = set(state) - set(reading.values())
        if len(theirs) == len(state) - len(reading) and theirs <= others:
            return {**reading, **{key: key for key in theirs}}
    return None


def _embedding_keys(model: nn.Module) -> set[str]:
    layers = {id(getattr(model, name)()) for name in _EMBEDDINGS if hasattr(model, name)}
    return {
        f"{name}.{key}"
        for name, module in model.named_modules()
        if id(module) in layers
        for key in module.state_dict()
    }
