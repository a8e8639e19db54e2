"""Products of inputs that several checkpoints have in common, computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Float
    from torch import Tensor


class InputProducts:
    """Inner products of queries' inputs with those of one batch, kept while the batch is.

    What goes into a model's first layer is the same at every checkpoint, and so are its products
    with the queries' inputs, most of the work of a wide first layer.

    Args:
        batch: the batch's own tensors. Only inputs that lie in their memory are kept products of:
            that memory is not used for anything else meanwhile, as an activation's may be.
    """

    def __init__(self, batch: Iterable[Tensor]) -> None:
        self._memory = {tensor.untyped_storage().data_ptr() for tensor in batch}
        self._found: dict[object, Tensor] = {}

    def of(
        self, queries: Float[Tensor, "Q I"], examples: Float[Tensor, "B I"]
    ) -> Float[Tensor, "Q B"] | None:
        """The products, not to be written to; None where they may differ at the next checkpoint."""
        if examples.untyped_storage().data_ptr() not in self._memory:
            return None
        key = (_place(queries), _place(examples), examples._version)
        if key not in self._found:
            self._found[key] = queries @ examples.mT
        return self._found[key]


def _place(tensor: Tensor) -> object:
    return (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
