"""Several answers from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic

from headwater.engine.sink import AnySink

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Several(Generic[AnySink]):
    """Hands every block to each of several sinks, which are its attribute."""

    def __init__(self, sinks: Sequence[AnySink]) -> None:
        self.sinks = sinks

    def add(self, start: int, block: Float[Tensor, "R B"]) -> None:
        """Takes the columns from `start` on."""
        for sink in self.sinks:
            sink.add(start, block)
