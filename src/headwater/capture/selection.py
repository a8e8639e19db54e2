"""Which parameters count: dotted names of modules and parameters, matched exactly."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from headwater.adapters import adapter_parameters
from headwater.errors import ModelError, SelectionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import nn


def selected(
    parameters: Mapping[str, nn.Parameter], selection: tuple[str, ...]
) -> list[nn.Parameter]:
    """The selected ones of a model's present parameters.

    Raises:
        ModelError: one is gone since it was selected.
    """
    gone = [name for name in selection if name not in parameters]
    if gone:
        close = difflib.get_close_matches(gone[0], parameters, n=3, cutoff=0.4)
        now = f"; now there are {', '.join(map(repr, close))}" if close else ""
        raise ModelError(
            f"the model had a parameter {gone[0]!r} when the estimator was made, and has it no "
            f"more{now}: a layer was exchanged, tied, or parametrized since. Which parameters "
            f"count is settled when an estimator is made; make it anew"
        )
    return [parameters[name] for name in selection]


def select(model: nn.Module, layers: Iterable[str] | None) -> tuple[str, ...]:
    """The names of the selected parameters, in the model's order, each parameter once.

    A tied parameter goes by the first of its names, as in `model.named_parameters()`.

    Args:
        model: the model whose parameters are named.
        layers: dotted names of modules or parameters. A container's name takes everything under
            it; a frozen parameter that is named counts. None: every parameter that requires grad;
            where none does and PEFT's adapters are active, these, which were loaded for inference.

    Raises:
        SelectionError: a name isn't in the model, or nothing is selected.
    """
    if layers is None:
        names = tuple(
            name for name, parameter in model.named_parameters() if parameter.requires_grad
        )
        if not names:
            names = tuple(one.name for one in adapter_parameters(model))
        if not names:
            raise SelectionError(
                "no parameter of the model requires grad, so layers=None selects nothing; "
                "name the layers that count, frozen or not: layers=[...]"
            )
        return _differentiable(model, names)
    if isinstance(layers, str):
        raise SelectionError(
            f"layers is the text {layers!r}; expected a list of names: [{layers!r}]"
        )
    asked = list(layers)
    if not asked:
        raise SelectionError("layers=[] selects nothing; name layers, or leave it out for all")
    canonical = {id(parameter): name for name, parameter in model.named_parameters()}
    aliases = dict(model.named_parameters(remove_duplicate=False))
    modules = dict(model.named_modules(remove_duplicate=False))
    chosen: set[str] = set()
    for name in asked:
        if name in aliases:
            chosen.add(canonical[id(aliases[name])])
        elif name in modules:
            below = {canonical[id(parameter)] for parameter in modules[name].parameters()}
            if not below:
                raise SelectionError(f"layers names {name!r}, which has no parameters")
            chosen |= below
        else:
            raise SelectionError(_unknown(name, [*modules, *aliases]))
    return _differentiable(model, tuple(name for name in canonical.values() if name in chosen))


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(
        str(name), [other for other in known if other], n=4, cutoff=0.5
    )
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else "see model.named_modules()"
    return (
        f"layers names {name!r}, which is neither a module nor a parameter of the model "
        f"(dotted names, matched exactly); {hint}"
    )


def _differentiable(model: nn.Module, names: tuple[str, ...]) -> tuple[str, ...]:
    parameters = dict(model.named_parameters())
    for name in names:
        if not parameters[name].is_floating_point():
            raise SelectionError(
                f"parameter {name!r} is of type {parameters[name].dtype}; gradients of real "
                f"floating-point parameters can be attributed only: leave it out of layers"
            )
    return names
