"""What glibc does with freed memory."""

from __future__ import annotations

import sys

import torch

# glibc gives a block that is larger than its threshold back to the system when it is freed, and a
# batch's next one faults in every page anew. The threshold rises to the size of the largest block
# that was freed so, up to this (DEFAULT_MMAP_THRESHOLD_MAX), less what a block has around it.
_LARGEST = 32 * 2**20 - 2**16


def keep_freed_blocks() -> None:
    """Has glibc keep freed blocks of up to 32 MB for the next ones, as after any tensor that large.

    Nothing is written to, so that it takes some microseconds; elsewhere it does nothing.
    """
    if sys.platform == "linux":
        torch.empty(_LARGEST, dtype=torch.uint8)
