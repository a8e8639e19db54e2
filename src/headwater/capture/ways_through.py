"""Whether a batch goes through layers in another way than those before it.

What a look at a few batches has shown of a layer holds for others that go through it alike. A model
may do otherwise with some: put the tokens of all examples into one list, of which there happen to
be a whole number per example, or use a layer's weight once more by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from headwater.tasks.batch import leaves

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from headwater.capture.disorder import Doubt, Site
    from headwater.capture.graph import Graph
    from headwater.capture.recording import Record

_Extents = tuple[int, ...]


class WaysThrough:
    """The ways that batches of one model have gone through its layers so far."""

    def __init__(self) -> None:
        self._rows: dict[nn.Module, list[tuple[_Extents, int]]] = {}
        self._usual: dict[tuple[nn.Module, _Extents], int] = {}
        self._uses: dict[tuple[nn.Module, str], float] = {}
        self._met: set[nn.Module] = set()

    def unusual(
        self,
        graph: Graph,
        records: Sequence[Record],
        batch: Any,
        size: int,
    ) -> frozenset[Doubt]:
        """Ways that a look at other batches says nothing about.

        Args:
            graph: of the batch's losses.
            records: the calls of layers.
            batch: what the model got.
            size: how many examples that is.
        """
        if size < 2:
            return frozenset()
        sites = self._first(records) | self._by_rows(records, batch, size)
        sites |= self._by_uses(graph, records)
        return frozenset((site, None) for site in sites)

    def _first(self, records: Sequence[Record]) -> set[Site]:
        """Layers that no batch before went through; of the first batch none, which is looked at."""
        called = {record.module for record in records}
        new, self._met = called - self._met if self._met else set(), self._met | called
        return {(("first call of", type(module).__name__), 0, 0, 0) for module in new}

    def _by_rows(self, records: Sequence[Record], batch: Any, size: int) -> set[Site]:
        """Layers whose rows per example can't be told from the shape of the batch.

        That is, from the first axis of its tensors beside that of the examples, mostly of steps.
        """
        found: set[Site] = set()
        extents = tuple(
            extent
            for leaf in leaves(batch)
            if isinstance(leaf, Tensor)
            for extent in leaf.shape[1:2]
        )
        for record in records:
            first = record.args[0] if record.args else None
            if not isinstance(first, Tensor) or not first.dim() or first.shape[0] % size:
                continue
            each, name = first.shape[0] // size, type(record.module).__name__
            if self._usual.setdefault((record.module, extents), each) != each:
                found.add((("other rows of", name, *map(str, extents)), each, 0, 0))
            if each < 2 or each in extents:
                continue
            known = self._rows.setdefault(record.module, [])
            like = next((way for way in known if _explained(extents, each, *way)), None)
            if like is None:
                like = (extents, each)
                known.append(like)
            found.add((("rows of", name, *map(str, like[0])), like[1], 0, 0))
        return found

    def _by_uses(self, graph: Graph, records: Sequence[Record]) -> set[Site]:
        """Layers' parameters that are read more often, or less, per call than before."""
        calls: dict[int, int] = {}
        owned: dict[tuple[nn.Module, str], int] = {}
        for record in records:
            # How often a stand-in reads its layer's weights may depend on how many steps there are.
            if record.rule is None:
                for key, parameter in record.module._parameters.items():
                    if parameter is not None:
                        owner = id(parameter)
                        owned[record.module, key] = owner
                        calls[owner] = calls.get(owner, 0) + 1
        found: set[Site] = set()
        uses = graph.uses_of_leaves()
        for own, owner in owned.items():
            used, called = uses.get(owner, 0), calls[owner]
            if used and self._uses.setdefault(own, used / called) != used / called:
                found.add((("uses of", type(own[0]).__name__, own[1]), used, called, 0))
        return found


def _explained(extents: _Extents, each: int, others: _Extents, before: int) -> bool:
    """Whether rows per example are what they were for another batch, given how long both are."""
    if extents == others:
        return each == before
    return len(extents) == len(others) and any(
        extent != other and (each - extent == before - other or each * other == before * extent)
        for extent, other in zip(extents, others, strict=True)
    )
