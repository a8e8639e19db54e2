"""What has to be the same on all ranks."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from torch import Tensor

from headwater.distributed.ranks import refuse_differences
from headwater.engine.fingerprint import data_fingerprint
from headwater.tasks.batch import leaves

if TYPE_CHECKING:
    from headwater.checkpoints import BoundSeries
    from headwater.distributed import Ranks
    from headwater.engine.quantity import Quantity

# Enough to notice ranks that ask about different examples.
_QUERIES_COMPARED = 64


def digest_of_queries(quantity: Quantity) -> str | None:
    """Of the tensors in the first queries; None where there are none."""
    asked = quantity.example_batch(min(quantity.rows, _QUERIES_COMPARED))
    if asked is None:
        return None
    tensors = [leaf for leaf in leaves(asked[1]) if isinstance(leaf, Tensor)]
    return data_fingerprint(None, [tensors])[:16]


def digest_of_checkpoints(series: BoundSeries) -> int:
    """Of the names and rates of those that have been visited, in 56 bits."""
    told = repr(sorted(series.visited.items()))
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:7], "big")


def refuse_other_checkpoints(ranks: Ranks | None, series: BoundSeries) -> None:
    """After all have been visited: refuses those that had other names or rates on other ranks.

    Raises:
        InputError: they had; on every rank.
        RankError: a rank died.
    """
    if ranks is not None:
        refuse_differences(
            ranks.gathered_object({"the names and rates of checkpoints": series.visited})
        )
