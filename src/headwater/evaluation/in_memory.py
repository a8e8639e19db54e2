"""A dataset as one batch in memory, from which any examples can be taken at once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from headwater.errors import InputError
from headwater.tasks.batch import borrow, describe, leading_size, leaves, map_leaves

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Int


class InMemory:
    """The examples of a dataset.

    Args:
        source: a Dataset; or the batch of all examples, a tuple, list or dict of tensors.
        collate_fn: makes a batch of a list of examples; None stacks tensors and numbers. With one,
            batches are made anew each time, since padding may differ.
        name: of the argument, for messages.

    Raises:
        InputError: the examples can't be picked by their places, or there are none.
    """

    def __init__(
        self,
        source: Any,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        *,
        name: str = "dataset",
    ) -> None:
        self._collate = default_collate if collate_fn is None else collate_fn
        self._source: Any = None
        self._whole: Any = None
        self._device: torch.device | None = None
        if isinstance(source, DataLoader):
            raise InputError(
                f"{name} is a DataLoader; expected the Dataset, since retraining makes batches of "
                f"its own"
            )
        if isinstance(source, Dataset) or (isinstance(source, list) and collate_fn is not None):
            if isinstance(source, IterableDataset) or not hasattr(source, "__len__"):
                raise InputError(
                    f"{name} is a {type(source).__name__}; expected a Dataset with __len__ and "
                    f"__getitem__, from which examples can be picked"
                )
            self._source = source
            self.count = len(source)  # type: ignore[arg-type]
            if isinstance(source, TensorDataset) and collate_fn is None:
                self._whole = tuple(source.tensors)
        else:
            self._whole = source
            size = leading_size(source)
            if size is None:
                raise InputError(f"{name} is {describe(source)}; expected a Dataset, or a batch")
            self.count = size
        if not self.count:
            raise InputError(f"{name} has no example")
        if self._whole is None and collate_fn is None:
            self._whole = self._gathered()
        self._refuse_uneven(name)

    @property
    def whole(self) -> Any:
        """All examples as one batch of tensors; None where a batch has to be made each time."""
        return self._whole

    @property
    def is_whole(self) -> bool:
        """Whether all examples are one batch, so that `fingerprint` looks at every one."""
        return self._whole is not None

    def move_to(self, device: torch.device) -> None:
        """Puts all examples, or later batches, on a device."""
        self._device = device
        if self._whole is not None:
            self._whole = borrow(self._whole, device)

    def batch(self, places: Int[Tensor, " B"]) -> Any:
        """Some examples, in this order."""
        if self._whole is not None:
            return taken(self._whole, places)
        batch = self._collate([self._source[int(place)] for place in places])
        return batch if self._device is None else borrow(batch, self._device)

    def targets(self) -> Tensor:
        """What the last part of each example says.

        Raises:
            InputError: the examples are no tuples, or the last part is no tensor.
        """
        whole = self._whole if self._whole is not None else self.batch(torch.arange(self.count))
        last = whole[-1] if isinstance(whole, (tuple, list)) else None
        if not isinstance(last, Tensor):
            raise InputError(
                f"an example is {describe(whole)}; expected a tuple (inputs..., label)"
            )
        return last

    def fingerprint(self) -> str:
        """A digest of every number in the examples; of those that aren't tensors, of 64 of them."""
        digest = hashlib.sha256(f"{self.count}".encode())
        whole = self._whole
        if whole is None:
            places = torch.linspace(0, self.count - 1, min(64, self.count)).long()
            whole = self.batch(places)
        for leaf in leaves(whole):
            if isinstance(leaf, Tensor):
                flat = leaf.detach().cpu().contiguous()
                digest.update(f"{flat.dtype} {tuple(flat.shape)}".encode())
                digest.update(flat.view(-1).view(torch.uint8).numpy().tobytes())
            else:
                digest.update(repr(leaf).encode())
        return digest.hexdigest()

    def _gathered(self) -> Any:
        """All examples as one batch; None if they don't stack into tensors."""
        try:
            whole = default_collate([self._source[place] for place in range(self.count)])
        except (RuntimeError, TypeError):
            return None
        stacked = all(
            isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == self.count
            for leaf in leaves(whole)
        )
        return whole if stacked else None

    def _refuse_uneven(self, name: str) -> None:
        if self._whole is None:
            return
        for leaf in leaves(self._whole):
            if not isinstance(leaf, Tensor) or leaf.dim() < 1 or len(leaf) != self.count:
                raise InputError(
                    f"{name} has {self.count} examples, and a part of it is {describe(leaf)}; "
                    f"expected tensors with one entry per example"
                )


def taken(whole: Any, places: Tensor) -> Any:
    """Some examples of a batch; places of shape (M, B) give a leading axis of M batches."""
    return map_leaves(whole, lambda leaf: leaf[places])
