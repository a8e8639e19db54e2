"""A checkpoint's weights kept in memory, and put into the model without copying."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class Weights:
    """A copy of the model's present parameters and buffers."""

    def __init__(self, model: nn.Module) -> None:
        self._tensors = {name: tensor.data.clone() for name, tensor in named_tensors(model)}

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors.values())

    def install(self, tensors: list[tuple[str, Tensor]]) -> None:
        """Makes a model's parameters and buffers, by name, point at these weights."""
        for name, tensor in tensors:
            tensor.data = self._tensors[name]


def weights_nbytes(model: nn.Module) -> int:
    """Bytes that a copy of the model's weights takes."""
    return sum(tensor.numel() * tensor.element_size() for _, tensor in named_tensors(model))


def named_tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """The model's parameters and buffers."""
    return [*model.named_parameters(), *model.named_buffers()]
