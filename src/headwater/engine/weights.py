"""A checkpoint's weights kept in memory, and put into the model, where it's whole by pointing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.distributed import is_sharded, own_part, parts_of, put, reshard

if TYPE_CHECKING:
    from torch import Tensor, nn


class Weights:
    """The model's present parameters and buffers; of sharded ones this rank's part.

    Args:
        model: the borrowed model.
        copied: whether the model is going to be given other weights before `install`. Otherwise
            its own tensors are kept, unless they are sharded, which `install` writes to.
    """

    def __init__(self, model: nn.Module, *, copied: bool = True) -> None:
        self._model = model
        self._tensors = {
            name: own_part(tensor).clone() if copied or is_sharded(tensor) else tensor.data
            for name, tensor in named_tensors(model)
        }

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors.values())

    def install(self, tensors: list[tuple[str, Tensor]]) -> None:
        """Makes a model's parameters and buffers, by name, point at these weights."""
        reshard(self._model)
        for name, tensor in tensors:
            put(tensor, self._tensors[name])


def weights_nbytes(model: nn.Module) -> int:
    """Bytes that a copy of the model's weights takes, on every rank about the same.

    Decisions hang on it that all ranks have to take alike, so that it is the same number on all.
    """
    tensors = [tensor for _, tensor in named_tensors(model)]
    return sum(-(-tensor.numel() // parts_of(tensor)) * tensor.element_size() for tensor in tensors)


def named_tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """The model's parameters and buffers."""
    reshard(model)
    return [*model.named_parameters(), *model.named_buffers()]
