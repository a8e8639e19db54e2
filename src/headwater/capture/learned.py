"""What a capture has met of its model, for captures of the same model in other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.capture.disorder import Site


@dataclass(frozen=True)
class Learned:
    """How a model has to be captured, as far as batches have shown.

    Attributes:
        fallback: the parameters that no rule fits.
        way: the number of the fallback's way.
        spread: the modules that are called once for a whole batch.
        copied: the modules whose output is copied.
        doubts: what rows in another order have turned out wrong by.
    """

    fallback: frozenset[str]
    way: int
    spread: frozenset[str]
    copied: frozenset[str]
    doubts: frozenset[Site]
