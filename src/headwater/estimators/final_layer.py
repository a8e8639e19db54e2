"""Finding the final layer that the last-layer estimators are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from headwater.capture import eager, select
from headwater.errors import SelectionError

if TYPE_CHECKING:
    from typing import Any


def select_final_layer(model: nn.Module, final_fc_layer: Any) -> tuple[str, ...]:
    """The names of the final layer's parameters.

    Args:
        model: the model.
        final_fc_layer: the layer itself, or its dotted name.

    Raises:
        SelectionError: the layer isn't in the model, or has no parameters.
    """
    net = eager(model)
    if isinstance(final_fc_layer, nn.Module):
        names = [name for name, module in net.named_modules() if module is final_fc_layer]
        if not names:
            raise SelectionError(
                f"final_fc_layer is a {type(final_fc_layer).__name__} that isn't in the model (a "
                f"copy of one of its layers?); pass the layer itself or its dotted name"
            )
        # The root has no name that `select` could look up, and means all of it.
        return select(net, names[:1] if names[0] else [name for name, _ in net.named_parameters()])
    if not isinstance(final_fc_layer, str):
        raise SelectionError(
            f"final_fc_layer is a {type(final_fc_layer).__name__}; expected a torch.nn.Module of "
            f"the model, or its dotted name"
        )
    return select(net, [final_fc_layer])
