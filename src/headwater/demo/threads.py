"""How many threads PyTorch works with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch work with one thread inside the block.

    The demo's tensors are too small to share out: more threads gain nothing on an idle machine,
    lose a lot on a busy one, and add up in an order that varies with their number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
