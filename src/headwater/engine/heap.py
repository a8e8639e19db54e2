"""What glibc does with freed memory."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

# glibc gives a block that is larger than its threshold back to the system when it is freed, and a
# batch's next one faults in every page anew. The threshold rises to the size of the largest block
# that was freed so, up to this (DEFAULT_MMAP_THRESHOLD_MAX), less what a block has around it.
_LARGEST = 32 * 2**20 - 2**16

# Smaller blocks it takes from a heap, whose free end it gives back once that is longer than twice
# the threshold; a batch has some blocks at a time. What is in use at the end keeps all below it.
_BELOW = 4


@contextmanager
def freed_blocks_kept() -> Iterator[None]:
    """Within, glibc keeps freed blocks of up to 32 MB for the next ones, some 128 MB of them.

    Of the threshold, which stays as after any tensor that large, and of the heap's end, which is
    held until the end of this. Nothing is written to, so that it takes some microseconds and no
    memory; elsewhere it does nothing.
    """
    end = _end_of_a_longer_heap() if sys.platform == "linux" else None
    try:
        yield
    finally:
        del end


def _end_of_a_longer_heap() -> torch.Tensor | None:
    try:
        torch.empty(_LARGEST, dtype=torch.uint8)
        blocks = [torch.empty(_LARGEST, dtype=torch.uint8) for _ in range(_BELOW + 1)]
    except RuntimeError:
        # A limit on the process's addresses, which is nearer than anybody's memory.
        return None
    return max(blocks, key=torch.Tensor.data_ptr)
