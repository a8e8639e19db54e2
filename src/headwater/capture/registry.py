"""Which rule knows the per-example gradients of which layer type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

from headwater.capture.layer_call import LayerCall
from headwater.errors import InputError
from headwater.forms.form import Form
from headwater.forms.gradients import Block

if TYPE_CHECKING:
    from torch import nn

Rule: TypeAlias = Callable[
    [LayerCall],
    Mapping[Block, Form] | Mapping[str, Form] | Mapping[str, Tensor] | Mapping[Any, Form | Tensor],
]
"""From a layer's call to its gradients: by parameter name (or names), a form, or a tensor (B, ...).

A tensor holds each example's gradient in the shape of the parameter.
"""


@dataclass(frozen=True)
class _Entry:
    rule: Rule
    methods: tuple[str, ...]


_rules: dict[str, _Entry] = {}
_recognised: list[tuple[Callable[[nn.Module], bool], Rule]] = []


def register_rule(
    layer_type: type[nn.Module] | str, rule: Rule, *, methods: tuple[str, ...] = ("forward",)
) -> None:
    """Makes a layer type's per-example gradients known, in place of the fallback or an older rule.

    The rule also serves subclasses whose `methods` are unchanged. Like every rule it is held
    against autograd by the completeness check of every run, so a wrong rule can't give wrong
    scores: its layer goes through the fallback.

    Args:
        layer_type: the class, or its full dotted name where importing it here would cost much.
        rule: called once per call of such a layer, with what went in and the gradients at what
            came out; returns the gradients of the parameters in `call.wanted`.
        methods: what a subclass must not override for the rule to hold.

    Raises:
        InputError: the rule can't be called, or the type has none of the methods.
    """
    if not callable(rule):
        raise InputError(
            f"a rule is called with a LayerCall; {type(rule).__name__} is not callable"
        )
    if not isinstance(layer_type, str):
        for method in methods:
            if not hasattr(layer_type, method):
                raise InputError(f"{layer_type.__name__} has no method {method!r}")
    _rules[layer_type if isinstance(layer_type, str) else _full_name(layer_type)] = _Entry(
        rule, methods
    )


def recognise(is_one: Callable[[nn.Module], bool], rule: Rule) -> None:
    """Makes a rule known for layers without a common class.

    Args:
        is_one: whether a module looks like such a layer; what it takes wrongly disagrees with
            autograd, and goes through the fallback.
        rule: as for `register_rule`.
    """
    _recognised.append((is_one, rule))


def find_rule(module: nn.Module) -> Rule | None:
    """The rule for a module: of the nearest registered class, if its forward is unchanged.

    Where no class is registered, of whatever recognises the module.
    """
    for base in type(module).__mro__:
        entry = _rules.get(_full_name(base))
        if entry is None:
            continue
        unchanged = all(
            getattr(type(module), method, None) is getattr(base, method, None)
            and method not in vars(module)
            for method in entry.methods
        )
        return entry.rule if unchanged else None
    return next((rule for is_one, rule in _recognised if is_one(module)), None)


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
