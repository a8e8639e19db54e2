"""What a look at other batches says nothing about, of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.capture.disorder import disordered
from headwater.capture.graph import Graph
from headwater.capture.ways_through import WaysThrough

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from torch import Tensor, nn

    from headwater.capture.disorder import Site
    from headwater.capture.recording import Record


class Doubts:
    """Why batches of a model have to be held against autograd, beside those that are in any case.

    Args:
        model: the model.

    Attributes:
        confirmed: those of which one batch or another was wrong. That a layer went to the fallback
            then says nothing of the next one: each such batch is looked at.
    """

    def __init__(self, model: nn.Module) -> None:
        self.confirmed: set[Site] = set()
        self._allayed: set[Site] = set()
        self._latest: frozenset[Site] = frozenset()
        self._model = model
        self._ways = WaysThrough()

    @property
    def about_the_last_batch(self) -> frozenset[Site]:
        """Rows in another order, and ways through layers that others say nothing about."""
        return self._latest - self._allayed

    def confirm(self, doubts: frozenset[Site]) -> None:
        """A batch that they were about was wrong."""
        self.confirmed |= doubts
        self._allayed -= doubts

    def allay(self, doubts: frozenset[Site]) -> None:
        """A batch that they were about was right."""
        self._allayed |= doubts - self.confirmed

    def look(self, losses: Tensor, records: Sequence[Record], batch: Any, size: int) -> None:
        """Goes through a forward pass.

        Args:
            losses: the sum of its losses, before it is differentiated.
            records: the calls of layers.
            batch: what the model got.
            size: how many examples that is.
        """
        graph = Graph(losses)
        ways = self._ways.unusual(graph, records, batch, size)
        self._latest = ways | disordered(graph.nodes, size, self._own_memory)

    def _own_memory(self) -> set[int]:
        tensors = (*self._model.parameters(), *self._model.buffers())
        return {tensor.untyped_storage().data_ptr() for tensor in tensors}
