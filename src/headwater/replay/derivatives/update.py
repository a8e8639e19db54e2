"""One update of an optimizer as a function of its coordinates, to be differentiated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from headwater.errors import NotReplayableError

if TYPE_CHECKING:
    from torch import Tensor

    from headwater.checkpoints import Setting


class UpdateRule(ABC):
    """What an optimizer makes of weights and gradients, one coordinate apart from the others.

    It has the numbers of the optimizer's own update up to rounding; only its derivative is used.
    """

    @abstractmethod
    def update(
        self,
        weight: Tensor,
        gradient: Tensor,
        moments: Mapping[str, Tensor],
        settings: Mapping[str, Setting],
        *,
        frozen: bool,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weights and the moments after one update.

        Args:
            weight, gradient: before it, of any number of coordinates.
            moments: what the optimizer keeps of them, by kind; what isn't there yet is left out.
            settings: the parameter group's, at this update.
            frozen: whether what scales coordinates (Adam's second moments) counts as given, so
                that the update is linear in the gradient.

        Returns:
            the weights, and by kind the moments that later updates depend on.
        """


def number(settings: Mapping[str, Setting], key: str, default: float = 0.0) -> float:
    """A setting that is one number."""
    value = settings.get(key, default)
    if isinstance(value, int | float):
        return float(value)
    raise NotReplayableError(f"the recorded run has {key}={value!r}; expected a number")
