"""The `final_fc_layer` argument as Captum keeps it: a module."""

from __future__ import annotations

from typing import Any

from torch import nn

from headwater.capture import eager
from headwater.errors import SelectionError
from headwater.estimators.final_layer import select_final_layer


def final_layer_of(model: nn.Module, final_fc_layer: nn.Module | str) -> Any:
    """The layer that is meant, and that the model has.

    Raises:
        SelectionError: the model has no such layer.
    """
    try:
        select_final_layer(model, final_fc_layer)
    except SelectionError as error:
        if not isinstance(final_fc_layer, str):
            raise
        raise SelectionError(f"invalid final_fc_layer {final_fc_layer!r}: {error}") from error
    modules = dict(eager(model).named_modules(remove_duplicate=False))
    return modules.get(final_fc_layer) if isinstance(final_fc_layer, str) else final_fc_layer
