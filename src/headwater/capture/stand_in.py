"""Stand-ins: what a layer computes, in pieces whose output gradients can be asked for.

Some layers multiply by several of their parameters within one operation, so that a rule, which sees
what goes in and what comes out, can't know the gradients in between. While a batch is captured, a
stand-in computes the same in their place and notes every linear map on the way. Like every rule it
is held against the layer's own forward by the completeness check of every run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor, nn

    from headwater.capture.registry import Rule


class Note(Protocol):
    """Notes one linear map, called with what went in, what came out, and the rule for it."""

    def __call__(
        self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, rule: Rule
    ) -> None:
        """Notes a map with parameters of `module`; gradients at `output` are asked for."""


StandIn: TypeAlias = Callable[..., Any]
"""`(module, note, *args, **kwargs) -> output`, or NotImplemented for a call it doesn't cover."""

_stand_ins: dict[type[nn.Module], StandIn] = {}


def register_stand_in(layer_type: type[nn.Module], stand_in: StandIn) -> None:
    """Makes a stand-in known for a layer type and subclasses with the same forward."""
    _stand_ins[layer_type] = stand_in


def find_stand_in(module: nn.Module) -> StandIn | None:
    """The stand-in for a module, if its forward is unchanged."""
    for base, stand_in in _stand_ins.items():
        if isinstance(module, base):
            unchanged = type(module).forward is base.forward and "forward" not in vars(module)
            return stand_in if unchanged else None
    return None
