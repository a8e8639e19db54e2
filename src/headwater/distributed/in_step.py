"""Columns that every rank computes, since all go through a sharded model in step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from headwater.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.distributed.ranks import Ranks


class _Sink(Protocol):
    def add(self, start: int, block: Float[Tensor, "R B"]) -> None: ...


class SameColumns:
    """A sink in front of another one, on every rank, that sees whether all get the same columns.

    Args:
        ranks: the processes.
        sink: what gets the columns.
    """

    def __init__(self, ranks: Ranks, sink: _Sink) -> None:
        self._ranks = ranks
        self._sink = sink
        self._count = 0
        self._sum = torch.zeros((), dtype=torch.float64)
        self._size = torch.zeros((), dtype=torch.float64)
        self._eps = 0.0

    def add(self, start: int, block: Float[Tensor, "R B"]) -> None:
        """Takes the columns from `start` on."""
        self._count += block.shape[1]
        self._eps = torch.finfo(block.dtype).eps
        each = block.detach().cpu().double()
        # By place, so that columns in another order have another sum.
        weights = torch.arange(start + 1, start + 1 + block.shape[1], dtype=torch.float64).cos()
        self._sum += (each * weights).sum()
        self._size += each.abs().sum()
        self._sink.add(start, block)

    def finish(self) -> None:
        """Compares with the others.

        Raises:
            InputError: some rank had other columns.
            RankError: a rank died.
        """
        mine = torch.stack([torch.tensor(float(self._count)), self._sum, self._size])
        first, *others = self._ranks.gathered(mine.double())
        for rank, other in enumerate(others, start=1):
            apart = (other[1] - first[1]).abs()
            if other[0] != first[0] or apart > self._eps**0.6 * torch.maximum(first[2], other[2]):
                raise InputError(
                    f"rank {rank} came to other numbers than rank 0, though a sharded model goes "
                    f"through the same batches on every rank; give all ranks the same examples, in "
                    f"the same order (no DistributedSampler), and the same queries and checkpoints"
                )
