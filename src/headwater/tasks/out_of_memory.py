"""What running out of memory looks like."""

from __future__ import annotations

import torch

from headwater.errors import OutOfMemoryError

# PyTorch has an error of its own for GPUs only; the CPU's and others' allocators say it in words.
_SAID = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether memory is what was missing, so that less of it may be asked for; of any device."""
    if isinstance(error, OutOfMemoryError):
        # Less was asked for already, and didn't help.
        return False
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)
