"""What a look at other batches says nothing about, of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.capture.disorder import UNTOLD, disordered
from headwater.capture.graph import Graph
from headwater.capture.ways_through import WaysThrough
from headwater.distributed import own_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from torch import Tensor, nn

    from headwater.capture.disorder import Doubt, Site
    from headwater.capture.recording import Record

# A site has been right in so many other ways before it is trusted to be so in any.
_ENOUGH = 4


class Doubts:
    """Why batches of a model have to be held against autograd, beside those that are in any case.

    Args:
        model: the model.

    Attributes:
        confirmed: the sites of doubts of which one batch or another was wrong. That a layer went to
            the fallback then says nothing of batches in which such a site is otherwise.
    """

    def __init__(self, model: nn.Module) -> None:
        self.confirmed: set[Site] = set()
        self._right: dict[Site, set[object]] = {}
        self._latest: frozenset[Doubt] = frozenset()
        self._model = model
        self._ways = WaysThrough()

    @property
    def about_the_last_batch(self) -> frozenset[Doubt]:
        """Rows in another order, and ways through layers that others say nothing about."""
        return frozenset(doubt for doubt in self._latest if self._is_open(*doubt))

    def _is_open(self, site: Site, content: object) -> bool:
        if content is UNTOLD:
            return True
        right = self._right.get(site, ())
        # The same again says little: of equally long texts each has the others' order.
        trusted = len(right) >= _ENOUGH and site not in self.confirmed
        return content not in right and not trusted

    def confirm(self, sites: Iterable[Site]) -> None:
        """A batch that had them was wrong."""
        self.confirmed.update(sites)

    def allay(self, doubts: frozenset[Doubt]) -> None:
        """A batch that they were about was right."""
        for site, content in doubts:
            self._right.setdefault(site, set()).add(content)

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
        return {own_part(tensor).untyped_storage().data_ptr() for tensor in tensors}
