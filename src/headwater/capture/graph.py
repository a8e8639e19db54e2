"""The autograd graph of a forward pass, gone through once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.autograd.graph import Node


class Graph:
    """The graph of a tensor.

    Attributes:
        nodes: its operators, from the last one back.
        uses: how often other operators read what an operator gives.
    """

    def __init__(self, last: Tensor) -> None:
        self.nodes: list[Node] = [] if last.grad_fn is None else [last.grad_fn]
        self.uses: Counter[Node] = Counter()
        for node in self.nodes:  # It grows meanwhile.
            for before, _ in node.next_functions:
                if before is not None:
                    if before not in self.uses:
                        self.nodes.append(before)
                    self.uses[before] += 1

    def uses_of_leaves(self) -> dict[int, int]:
        """By the identity of a leaf, how many operators read it."""
        return {
            id(node.variable): count  # type: ignore[attr-defined]
            for node, count in self.uses.items()
            if node.name() == "torch::autograd::AccumulateGrad"
        }
