"""Columns of a sharded model, through which all ranks go in step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from headwater.distributed.together import Together
from headwater.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.distributed.ranks import Ranks


class _Sink(Protocol):
    def add(self, start: int, block: Float[Tensor, "R B"]) -> None: ...


class InStep(Together):
    """A sink in front of another one, on every rank; all go through as many batches in step.

    Batches are dealt out in rounds of one for each rank, all of one size: every rank has the
    columns of its own, and gets the others'. What is left after whole rounds every rank computes,
    and it is seen whether all get the same columns.

    Args:
        ranks: the processes.
        sink: what gets the columns.
    """

    def __init__(self, ranks: Ranks, sink: _Sink) -> None:
        super().__init__(ranks)
        self._all = ranks
        self._sink = sink
        self._dealt = 0
        self._count = 0
        self._sum = torch.zeros((), dtype=torch.float64)
        self._weight = torch.zeros((), dtype=torch.float64)
        self._eps = 0.0

    def deal_out(self, rounds: int, batch_size: int) -> None:
        """Settles that batches are dealt out, from the first one on.

        Args:
            rounds: of one batch for each rank.
            batch_size: how many examples each of them has.
        """
        self._dealt = rounds * self.size * batch_size

    def add(self, start: int, block: Float[Tensor, "R B"]) -> None:
        """Takes the columns from `start` on: of this rank's batch, or of one that all have."""
        if start >= self._dealt:
            self._compared(start, block)
            self._sink.add(start, block)
            return
        width = block.shape[1]
        first = start - self.rank * width
        for rank, columns in enumerate(self._all.gathered(block.detach().cpu().contiguous())):
            self._sink.add(first + rank * width, columns)

    def finish(self) -> None:
        """Compares with the others what every rank has computed.

        Raises:
            InputError: some rank had other columns.
            RankError: a rank died.
        """
        mine = torch.stack([torch.tensor(float(self._count)), self._sum, self._weight])
        first, *others = self._all.gathered(mine.double())
        for rank, other in enumerate(others, start=1):
            apart = (other[1] - first[1]).abs()
            if other[0] != first[0] or apart > self._eps**0.6 * torch.maximum(first[2], other[2]):
                raise InputError(
                    f"rank {rank} came to other numbers than rank 0 of batches that all compute; "
                    f"give all ranks the same examples, in the same order (no "
                    f"DistributedSampler), and the same queries, loss, checkpoints and rates"
                )

    def _compared(self, start: int, block: Tensor) -> None:
        self._count += block.shape[1]
        self._eps = torch.finfo(block.dtype).eps
        each = block.detach().cpu().double()
        # By place, so that columns in another order have another sum.
        weights = torch.arange(start + 1, start + 1 + block.shape[1], dtype=torch.float64).cos()
        self._sum += (each * weights).sum()
        self._weight += each.abs().sum()
