"""What takes an answer's columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Sink(Protocol):
    """Takes finished columns, in order."""

    def add(self, start: int, block: Float[Tensor, "R B"]) -> None:
        """Takes the columns from `start` on."""


AnySink = TypeVar("AnySink", bound=Sink)
