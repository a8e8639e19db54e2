"""The memory that a call may use beyond the model, one batch and the result."""

from __future__ import annotations

import re
from typing import Literal

from headwater.engine.available import available_bytes
from headwater.errors import InputError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def memory_budget_bytes(budget: int | str | Literal["auto"]) -> int:
    """The budget in bytes.

    Args:
        budget: bytes, or a text such as "500MB" or "2 GiB" (both in powers of 1,024), or "auto":
            a quarter of the memory that is available to this process now.

    Raises:
        InputError: it is none of these.
    """
    if budget == "auto":
        return max(1, available_bytes() // 4)
    if isinstance(budget, int) and not isinstance(budget, bool) and budget > 0:
        return budget
    if isinstance(budget, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", budget, re.IGNORECASE)
        if match and float(match[1]) > 0:
            return int(float(match[1]) * _UNITS[match[2].upper()])
    raise InputError(
        f"memory_budget is {budget!r}; expected 'auto', a number of bytes, or a text like '2GB'"
    )
