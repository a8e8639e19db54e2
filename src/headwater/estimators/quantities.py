"""What an estimator that streams computes of gradients: a quantity for each question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.engine import PairScores, SelfInfluence, SummedScores

if TYPE_CHECKING:
    from collections.abc import Callable

    from headwater.engine import Quantity
    from headwater.engine.queries import Queries


@dataclass(frozen=True)
class Quantities:
    """TracIn's unless others are given.

    Attributes:
        pairs: of queries, a row for each.
        summed: of queries, the sum of these rows.
        own: of each training example by itself.
        plain: whether they are TracIn's, which stores of gradients give too.
    """

    pairs: Callable[[Queries], Quantity] = PairScores
    summed: Callable[[Queries], Quantity] = SummedScores
    own: Callable[[], Quantity] = SelfInfluence
    plain: bool = True
