"""What checkpoints have in common of one batch's inputs, computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Float
    from torch import Tensor


class SharedInputs:
    """A batch's inputs in another precision, their norms, and products with queries' inputs.

    What goes into a model's first layer is the same at every checkpoint, and so are its products
    with the queries' inputs, most of the work of a wide first layer. Kept while the batch is.

    Args:
        batch: the batch's own tensors. Only of inputs that lie in their memory anything is kept:
            that memory is not used for anything else meanwhile, as an activation's may be.
    """

    def __init__(self, batch: Iterable[Tensor]) -> None:
        self._memory = {tensor.untyped_storage().data_ptr() for tensor in batch}
        self._products: dict[object, Tensor] = {}
        self._converted: dict[object, Tensor] = {}
        self._norms: dict[object, Tensor] = {}

    def to(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """The tensor in that precision, not to be written to."""
        if tensor.dtype == dtype or not self._lasts(tensor):
            return tensor.to(dtype)
        key = (place(tensor), tensor._version, dtype)
        if key not in self._converted:
            self._converted[key] = tensor.to(dtype)
            self._memory.add(self._converted[key].untyped_storage().data_ptr())
        return self._converted[key]

    def products(
        self, queries: Float[Tensor, "Q I"], examples: Float[Tensor, "B I"]
    ) -> Float[Tensor, "Q B"] | None:
        """Inner products, not to be written to; None where they may differ between checkpoints."""
        if not self._lasts(examples):
            return None
        key = (place(queries), place(examples), examples._version)
        if key not in self._products:
            self._products[key] = queries @ examples.mT
        return self._products[key]

    def squared_norms(self, inputs: Float[Tensor, "B G 1 I"]) -> Float[Tensor, "B G"] | None:
        """Squared norms, not to be written to; None where they may differ between checkpoints."""
        if not self._lasts(inputs):
            return None
        key = (place(inputs), inputs._version)
        if key not in self._norms:
            self._norms[key] = squared_norms(inputs)
        return self._norms[key]

    def _lasts(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._memory


def squared_norms(vectors: Float[Tensor, "B G 1 I"]) -> Float[Tensor, "B G"]:
    """Each vector's squared norm."""
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=(2, 3))
    return norms.square_()


def place(tensor: Tensor) -> object:
    """Equal for tensors that are one and the same."""
    return (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
