"""A batch size that fits cache and memory, from what one example takes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from headwater.distributed import is_sharded, own_part

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import nn

    from headwater.tasks import Task

# A batch whose activations stay in the last-level cache runs about as fast per example as any
# larger one; below some dozens of examples the cost of calling operators shows.
CACHE_BYTES = 32 * 2**20
LARGEST = 1024
# Queries are read from memory anew for every batch: with fewer examples than that the products with
# them take longer than activations that don't stay in cache cost.
LEAST = 16


class _LargestOutput(TorchDispatchMode):
    """Notes the most bytes that an operator writes, but for what is made of parameters alone.

    A weight that autocast has converted is no activation, and is as large for one example as for
    a thousand.

    Args:
        parameters: where parameters lie in memory; what is made of them alone is added.
    """

    def __init__(self, parameters: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._parameters = parameters
        self.nbytes = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled here; to be left out of compiling, it would import the compiler, which
        # takes some three seconds at a program's first question.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        read = {
            leaf.untyped_storage().data_ptr()
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, Tensor)
        }
        of_parameters_alone = bool(read) and read <= self._parameters
        output = func(*args, **(kwargs or {}))
        for part in output if isinstance(output, (tuple, list)) else (output,):
            if isinstance(part, Tensor):
                storage = part.untyped_storage()
                place = storage.data_ptr()
                if of_parameters_alone:
                    self._parameters.add(place)
                elif place not in read:
                    # Of a copy that is gone.
                    self._parameters.discard(place)
                if place not in self._parameters:
                    self.nbytes = max(self.nbytes, storage.nbytes())
        return output


@dataclass(frozen=True)
class Taken:
    """What an example takes in a pass.

    Attributes:
        nbytes: of its activations.
        itemsize: bytes of a number beside them.
    """

    nbytes: float
    itemsize: int

    def fitting(self, *, extra_numbers: int, budget: int) -> int:
        """The largest round number of examples whose activations stay within cache and budget.

        Where the budget allows, 16 at the least, whatever the cache is. Round are powers of two and
        what lies half-way between them.

        Args:
            extra_numbers: numbers per example held beside the activations.
            budget: bytes that a batch may take at the most.
        """
        each = self.nbytes + extra_numbers * self.itemsize
        affordable, in_cache = (int(size / max(1.0, each)) for size in (budget, CACHE_BYTES))
        fitting = max(1, min(affordable, max(LEAST, in_cache)))
        power = 1 << (fitting.bit_length() - 1)
        between = power + power // 2
        return min(LARGEST, between if fitting >= between else power)


def taken_by_an_example(
    task: Task,
    model: nn.Module,
    batch: Any,
    *,
    within: AbstractContextManager[None] | None = None,
) -> Taken:
    """What one of a batch's examples takes, on average.

    Measured as what autograd keeps for the backward pass of a batch, or as the largest input and
    output of an operator where that is more: before the first selected layer nothing is kept.

    Args:
        batch: a few examples, on the model's device.
        within: where the forward pass is run, if layers compute there in another way.
    """
    own = {own_part(tensor).untyped_storage().data_ptr() for tensor in model.parameters()}
    kept: dict[int, int] = {}
    packed: list[list[Tensor]] = []

    def pack(tensor: Tensor) -> list[Tensor]:
        storage = tensor.untyped_storage()
        # Parameters that are gathered for their layer's time are nobody's activations either.
        whole = tensor if tensor._base is None else tensor._base
        if storage.data_ptr() not in own and not isinstance(whole, torch.nn.Parameter):
            kept[storage.data_ptr()] = storage.nbytes()
        packed.append([tensor])
        return packed[-1]

    largest = _LargestOutput(own)
    # Of a sharded model the largest outputs are gathered parameters.
    with (
        saved_tensors_hooks(pack, lambda box: box[0]),
        nullcontext() if is_sharded(model) else largest,
        within or nullcontext(),
    ):
        total, size = task.summed(model, batch)
    for box in packed:
        # An operator that keeps what it returns would keep it for good: each holds the other.
        box.clear()
    held = max(sum(kept.values()), 2 * largest.nbytes)
    return Taken(held / max(1, size), torch.finfo(total.dtype).bits // 8)
