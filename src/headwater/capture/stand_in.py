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
    ) -> Tensor:
        """Notes a map with parameters of `module`; gradients at `output` are asked for.

        Returns:
            what the layer may go on with: `output`, or where that has no axis of examples and
            needs one, `output` repeated once per example.
        """


StandIn: TypeAlias = Callable[..., Any]
"""`(module, note, *args, **kwargs) -> output`, or NotImplemented for a call it doesn't cover."""

_stand_ins: dict[type[nn.Module], StandIn] = {}
_recognised: list[tuple[Callable[..., bool], StandIn]] = []


def register_stand_in(layer_type: type[nn.Module], stand_in: StandIn) -> None:
    """Makes a stand-in known for a layer type and subclasses with the same forward."""
    _stand_ins[layer_type] = stand_in


def recognise_stand_in(is_one: Callable[[nn.Module], bool], stand_in: StandIn) -> None:
    """Makes a stand-in known for layers without a common class, by how they look."""
    _recognised.append((is_one, stand_in))


def find_stand_in(module: nn.Module) -> StandIn | None:
    """The stand-in for a module, if its forward is its class's own."""
    for base, stand_in in _stand_ins.items():
        if isinstance(module, base):
            unchanged = type(module).forward is base.forward and "forward" not in vars(module)
            return stand_in if unchanged else None
    if "forward" in vars(module):
        return None
    return next((stand_in for is_one, stand_in in _recognised if is_one(module)), None)
