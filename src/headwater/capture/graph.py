"""The autograd graph of a forward pass, gone through once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.autograd.graph import Node


class Graph:
    """The graph of a tensor.

    Attributes:
        nodes: its operators and leaves, from the last one back.
    """

    def __init__(self, last: Tensor) -> None:
        first = last.grad_fn
        self.nodes: list[Node] = [] if first is None else [first]
        self._leaves: list[Node] = []
        self._uses: dict[Node, int] = {} if first is None else {first: 0}
        uses, nodes = self._uses, self.nodes
        for node in nodes:  # It grows meanwhile.
            following = node.next_functions
            if not following:
                self._leaves.append(node)
            for before, _ in following:
                if before in uses:
                    uses[before] += 1
                elif before is not None:
                    uses[before] = 1
                    nodes.append(before)

    def uses_of_leaves(self) -> dict[int, int]:
        """By the identity of a leaf, how many operators read it."""
        return {
            id(leaf.variable): self._uses[leaf]
            for leaf in self._leaves
            if hasattr(leaf, "variable")
        }
