"""One retraining: on which examples, without which of them, and from which seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from headwater.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Tensor


def _none() -> Int[Tensor, 0]:
    return torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class Run:
    """A training run on some of the training examples.

    Two runs with the same members and seed have the same initial weights and the same batches.
    Removed examples leave gaps in theirs: nothing else moves, and a batch's loss is divided by its
    size with them. So what differs between the two is what the removed examples did.

    Attributes:
        members: places of the examples that the run is given, in their order.
        seed: of the initial weights and of the order.
        removed: places among the members whose losses don't count.
    """

    members: Int[Tensor, " m"]
    seed: int
    removed: Int[Tensor, " r"] = field(default_factory=_none)

    def present(self, count: int) -> Bool[Tensor, " N"]:
        """Which of all training examples the run learns from.

        Raises:
            InputError: a place is none of theirs.
        """
        for places in (self.members, self.removed):
            if places.numel() and not 0 <= int(places.min()) <= int(places.max()) < count:
                raise InputError(
                    f"a run names training example {int(places.max())}, and there are {count:,}, "
                    f"numbered from 0"
                )
        present = torch.zeros(count, dtype=torch.bool)
        present[self.members] = True
        present[self.removed] = False
        return present
