"""How much a forward pass writes, and so how many vectors go back through it at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# What backward passes for several vectors at once may write at each step of the way: a few times
# this, about what a cache holds. Beyond it they wait for memory, and one vector after the other is
# faster; and for fewer than `_FEWEST` together too, since operators for many vectors are dearer.
_WRITTEN = 4 << 20
_FEWEST = 4
_MOST = 64


class GraphSize:
    """The size of what modules return in a forward pass.

    Attributes:
        nbytes: of all of it; what operators between modules write isn't known.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        self._seen: set[int] = set()

    @property
    def vectors_at_once(self) -> int:
        """How many vectors to take back through the graph in one backward pass."""
        fitting = _WRITTEN // max(1, self.nbytes)
        return 1 if fitting < _FEWEST else min(fitting, _MOST)

    def _add(self, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            # Containers return what their last module did. Sparse ones lie in several places.
            if output.layout is torch.strided and output.data_ptr() not in self._seen:
                self._seen.add(output.data_ptr())
                self.nbytes += output.nbytes
        elif isinstance(output, tuple | list):
            for one in output:
                self._add(module, args, one)
        elif isinstance(output, dict):
            self._add(module, args, list(output.values()))


@contextmanager
def graph_size(model: nn.Module) -> Iterator[GraphSize]:
    """Within, the forward passes of a model are measured."""
    size = GraphSize()
    handles = [module.register_forward_hook(size._add) for module in model.modules()]
    try:
        yield size
    finally:
        for handle in handles:
            handle.remove()
