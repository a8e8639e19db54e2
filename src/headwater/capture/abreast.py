"""Ranks that go through a sharded model in step, with a batch each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.capture.plan import PlanChanged
from headwater.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.distributed import Together


def refuse_changes(ranks: Together, trail: Sequence[int], *, changed: bool) -> None:
    """After a pass by every rank: raises, on all, where one has to capture in another way.

    Args:
        ranks: the processes; all call this.
        trail: the modules that weights were gathered for on this rank, in order.
        changed: whether this rank is such a one.

    Raises:
        PlanChanged: a rank has to.
        CaptureError: ranks called different modules, so that what was gathered for one may have
            become the weights of another.
        RankError: a rank failed or died.
    """
    told = ranks.told((hash(tuple(trail)), changed))
    for rank, (other, _) in enumerate(told):
        if other != told[0][0]:
            raise CaptureError(
                f"the model calls other modules for rank {rank}'s batch than for rank 0's; ranks "
                f"that share a model's weights have to call the same ones in the same order, as in "
                f"training: call fully_shard on larger modules, within which the order may depend "
                f"on the data, or pass an IterableDataset, all of whose batches every rank computes"
            )
    for rank, (_, has_to) in enumerate(told):
        if has_to:
            raise PlanChanged(f"a layer in the batch of rank {rank}")
