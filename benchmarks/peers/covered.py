"""Which of a model's parameters a peer that knows some types of modules covers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn


def modules_of(model: nn.Module, types: Iterable[type[nn.Module]]) -> list[str]:
    """Names of the modules of exactly these types.

    A subclass may be there to hold parameters only, as the output projection of
    `nn.MultiheadAttention` is, and is then never called.
    """
    return [name for name, module in model.named_modules() if type(module) in set(types)]


def parameters_of(model: nn.Module, types: Iterable[type[nn.Module]]) -> list[str] | None:
    """Names of their parameters; None if that is all of the model's."""
    names = [
        f"{prefix}.{name}"
        for prefix in modules_of(model, types)
        for name, _ in model.get_submodule(prefix).named_parameters(recurse=False)
    ]
    return None if set(names) == {name for name, _ in model.named_parameters()} else names
