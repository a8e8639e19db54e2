"""Which names are headwater's interface, and where each is at home in the reference."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

MODULES = (
    "headwater.errors",  # at home there, though they are names of headwater too
    "headwater",
    "headwater.estimators",
    "headwater.results",
    "headwater.checkpoints",
    "headwater.integrations.huggingface",
    "headwater.integrations.lightning",
    "headwater.tasks",
    "headwater.capture",
    "headwater.forms",
    "headwater.report",
    "headwater.query",
    "headwater.store",
    "headwater.compat.captum",
    "headwater.cleaning",
    "headwater.evaluation",
    "headwater.distributed",
)


def names_of(module: ModuleType) -> list[str]:
    """The public names of a module: its `__all__`, or else what is defined in it."""
    declared = getattr(module, "__all__", None)
    if declared is not None:
        return sorted(declared)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def public_objects() -> dict[str, Any]:
    """Every public class, function and value by its full name.

    What a package re-exports from another that comes before it in `MODULES` is at home there, and
    isn't here twice.
    """
    found: dict[str, Any] = {}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in names_of(module):
            value = getattr(module, name)
            if isinstance(value, ModuleType) or name == "__version__":
                continue
            if not any(value is other for other in found.values()):
                found[f"{module_name}.{name}"] = value
    return found
