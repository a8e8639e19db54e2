"""Which parameters require grad while a model is captured."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn


class Freezing:
    """Has exactly the selected parameters require grad, or those that the user left so as well.

    Args:
        model: as it is found.
        selection: the names of the selected parameters.
    """

    def __init__(self, model: nn.Module, selection: tuple[str, ...]) -> None:
        self._selected = frozenset(selection)
        self._found = {
            name: parameter.requires_grad for name, parameter in model.named_parameters()
        }

    def freeze_the_rest(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Freezes all that isn't selected, of a model's parameters by name."""
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in self._selected)

    @contextmanager
    def as_found(self, parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
        """Within, what the user froze is frozen, but for selected parameters, and nothing else."""
        for name, parameter in parameters.items():
            parameter.requires_grad_(self._found.get(name, False) or name in self._selected)
        try:
            yield
        finally:
            self.freeze_the_rest(parameters)
