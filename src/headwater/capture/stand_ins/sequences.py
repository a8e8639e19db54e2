"""How a recurrent layer's sequences lie in memory: all of one length, or packed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from headwater.capture.layer_call import NotPerExample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int


class Sequences(Protocol):
    """B sequences, and what a recurrent layer does with the tensors that hold their steps."""

    @property
    def counts(self) -> tuple[int, ...] | None:
        """Of packed sequences, how many have a first step, a second one, and so on."""

    @property
    def last(self) -> Int[Tensor, " B"] | None:
        """In packed memory, the place of each sequence's last step."""

    def reversed(self, steps: Tensor) -> Tensor:
        """Every sequence from its end."""

    def joined(self, directions: Sequence[Tensor]) -> Tensor:
        """Both directions' outputs, side by side at every step."""

    def before(self, first: Float[Tensor, "B H"], states: Tensor) -> Tensor:
        """The state that each step starts from."""

    def at_the_end(self, states: Tensor) -> Float[Tensor, "B H"]:
        """The state after each sequence's last step."""

    def by_example(self, steps: Tensor, size: int) -> Float[Tensor, "N T W"]:
        """Each example's steps, those of a batch of N examples."""


class OfOneLength:
    """Sequences one below the other: (B, T, W)."""

    counts = None
    last = None

    def reversed(self, steps: Tensor) -> Tensor:
        return steps.flip(1)

    def joined(self, directions: Sequence[Tensor]) -> Tensor:
        # Steps first in memory, as torch's layers lay outputs out: a model may view them.
        return torch.cat([out.transpose(0, 1) for out in directions], dim=2).transpose(0, 1)

    def before(self, first: Float[Tensor, "B H"], states: Tensor) -> Tensor:
        return torch.cat([first[:, None], states[:, :-1]], dim=1)

    def at_the_end(self, states: Tensor) -> Float[Tensor, "B H"]:
        return states[:, -1]

    def by_example(self, steps: Tensor, size: int) -> Float[Tensor, "N T W"]:
        return steps


class Packed:
    """Sequences of several lengths, (L, W).

    As torch packs them: the first steps of all, the longest sequence first, then the second steps
    of those that have one, and so on.

    Args:
        packed: what the layer got.
    """

    def __init__(self, packed: PackedSequence) -> None:
        self._packed = packed
        device = packed.data.device
        self.counts = tuple(packed.batch_sizes.tolist())
        counts = packed.batch_sizes.to(device)
        number = torch.arange(self.counts[0], device=device)
        lengths = (counts[:, None] > number).sum(dim=0)
        starts = counts.cumsum(0) - counts
        self.last = starts[lengths - 1] + number
        # Of every place in packed memory: its step, and its sequence by length.
        step = torch.arange(len(self.counts), device=device).repeat_interleave(counts)
        sequence = torch.arange(len(packed.data), device=device) - starts[step]
        self._mirrored = starts[lengths[sequence] - 1 - step] + sequence
        unsorted = packed.sorted_indices
        mine = sequence if unsorted is None else unsorted[sequence]
        # Where that place is among examples in the batch's order, all filled up to the longest.
        self._filled_up = mine * len(self.counts) + step
        self._last_two: list[tuple[Tensor, Tensor]] = []

    def reversed(self, steps: Tensor) -> Tensor:
        return steps[self._mirrored]

    def joined(self, directions: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(directions), dim=1)

    def before(self, first: Float[Tensor, "B H"], states: Tensor) -> Tensor:
        parts = zip(states.split(self.counts)[:-1], self.counts[1:], strict=True)
        return torch.cat([first, *(part[:count] for part, count in parts)])

    def at_the_end(self, states: Tensor) -> Float[Tensor, "B H"]:
        return states[self.last]

    def by_example(self, steps: Tensor, size: int) -> Float[Tensor, "N T W"]:
        # What inputs and what states are multiplied with has the same gradients: that they are one
        # tensor, by which products are shared, should go on being seen.
        for known, filled in self._last_two:
            if known is steps:
                return filled
        if self.counts[0] % size:
            raise NotPerExample(f"{self.counts[0]} packed sequences for {size} examples")
        # Steps that a sequence doesn't have are zero, and add nothing to any product.
        filled = steps.new_zeros(self.counts[0] * len(self.counts), steps.shape[1])
        filled[self._filled_up] = steps
        filled = filled.view(size, -1, steps.shape[1])
        self._last_two = [*self._last_two[-1:], (steps, filled)]
        return filled

    def packed(self, steps: Tensor) -> PackedSequence:
        """What the layer returns."""
        packed = self._packed
        return PackedSequence(
            steps, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
        )

    def by_length(self, states: Float[Tensor, "K B H"]) -> Float[Tensor, "K B H"]:
        """First states, given in the batch's order, in the order of packed memory."""
        indices = self._packed.sorted_indices
        return states if indices is None else states.index_select(1, indices)

    def in_order(self, states: Float[Tensor, "K B H"]) -> Float[Tensor, "K B H"]:
        """Last states in the batch's order."""
        indices = self._packed.unsorted_indices
        return states if indices is None else states.index_select(1, indices)
