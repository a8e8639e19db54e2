"""Which selected parameter is captured how: by its layer's rule, or by the fallback."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from headwater.capture.registry import Rule, find_rule
from headwater.capture.stand_in import StandIn, find_stand_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

logger = logging.getLogger("headwater")


# What autograd says of tensors that were written to, and of going back through a gradient.
_OF_SAVED_TENSORS = ("modified by an inplace operation", "once_differentiable")


class PlanChanged(Exception):
    """Parameters moved to the fallback; what was captured of them before doesn't count."""


class Plan:
    """For every module with a rule, which of its parameters are wanted from it.

    Attributes:
        selection: the names of all selected parameters.
        fallback: those that go through the fallback.
        shared: those that several modules own, so that their gradient is a sum over modules.
    """

    def __init__(self, model: nn.Module, selection: tuple[str, ...]) -> None:
        self.selection = selection
        self.fallback: set[str] = set()
        self._rules: dict[nn.Module, Rule] = {}
        self._owned: dict[nn.Module, dict[str, str]] = {}
        # Asked for at every call of a layer; what moves to the fallback empties it.
        self._wanted: dict[nn.Module, dict[str, str]] = {}
        owners: dict[str, list[nn.Module]] = {name: [] for name in selection}
        canonical = {id(parameter): name for name, parameter in model.named_parameters()}
        for module in model.modules():
            for local, parameter in module._parameters.items():
                name = canonical.get(id(parameter))
                if name in owners:
                    owners[name].append(module)
                    self._owned.setdefault(module, {})[local] = name
        self._stand_ins: dict[nn.Module, StandIn] = {}
        # What is used by a stand-in of the module that it is part of, and never called itself.
        inside: set[nn.Module] = set()
        for module in model.modules():
            stand_in = find_stand_in(module)
            if stand_in is not None:
                self._stand_ins[module] = stand_in
                inside.update(module.modules())
        for module in self._owned:
            rule = find_rule(module)
            if rule is not None:
                self._rules[module] = rule
        self.shared = {name for name, modules in owners.items() if len(modules) > 1}
        ruled = {
            name
            for name, modules in owners.items()
            if all(module in self._rules or module in inside for module in modules)
        }
        missing = [name for name in selection if name not in ruled]
        if missing:
            self.fallback.update(missing)
            logger.info("no rule for %s: per-example gradients through torch.func", listed(missing))

    def wanted(self, module: nn.Module) -> dict[str, str]:
        """The module's parameters that its rule is asked for: by name within it, the full name."""
        found = self._wanted.get(module)
        if found is None:
            owned = self._owned.get(module, {})
            found = {local: name for local, name in owned.items() if name not in self.fallback}
            self._wanted[module] = found
        return found

    def rule(self, module: nn.Module) -> Rule:
        """The rule of a module that has one."""
        return self._rules[module]

    def ruled_modules(self) -> list[nn.Module]:
        """The modules whose rules are asked for something."""
        return [module for module in self._rules if self.wanted(module)]

    def stand_ins(self) -> dict[nn.Module, StandIn]:
        """The modules that compute by a stand-in, of which something is asked for."""
        return {
            module: stand_in
            for module, stand_in in self._stand_ins.items()
            if self.is_wanted(module)
        }

    def is_wanted(self, module: nn.Module) -> bool:
        """Whether rules are asked for anything in a module."""
        return any(self.wanted(part) for part in module.modules())

    def owner(self, name: str) -> nn.Module | None:
        """The module of a parameter that belongs to one module alone."""
        owners = [module for module, owned in self._owned.items() if name in owned.values()]
        return owners[0] if len(owners) == 1 else None

    def move_to_fallback(self, names: Iterable[str], reason: str) -> PlanChanged:
        """Moves parameters to the fallback; returns what to raise."""
        moved = [name for name in self.selection if name in set(names)]
        self.add_to_fallback(moved)
        logger.info("%s: per-example gradients through torch.func (%s)", listed(moved), reason)
        return PlanChanged(listed(moved))

    def without_stand_ins(self, error: Exception) -> PlanChanged | None:
        """Moves what stand-ins hold to the fallback, after an error that they may be the cause of.

        What the layer itself would save for its backward pass is not what a stand-in saves: a model
        may go back twice, or write to what went in or came out.

        Returns:
            what to raise; None where it is no such error.
        """
        if not any(said in str(error) for said in _OF_SAVED_TENSORS):
            return None
        parts = [part for module in self.stand_ins() for part in module.modules()]
        names = [name for part in parts for name in self.wanted(part).values()]
        return self.move_to_fallback(names, str(error)) if names else None

    def add_to_fallback(self, names: Iterable[str]) -> None:
        """Moves parameters of which it is known that no rule fits them."""
        self.fallback.update(names)
        self._wanted.clear()

    @staticmethod
    def changed(names: Iterable[str]) -> PlanChanged:
        """What to raise where parameters are captured in another way from now on."""
        return PlanChanged(listed(list(names)))


def listed(names: list[str]) -> str:
    """The first few of some names, for messages."""
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
