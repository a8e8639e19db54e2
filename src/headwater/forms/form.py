"""The contract of a form: one batch of per-example gradients of one block of parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from headwater.forms.cost import examples_per_piece

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float
    from torch import Tensor
    from typing_extensions import Self


class Form(ABC):
    """B per-example gradients of one block of P parameters, held in some representation.

    Every form can be written out (`materialise`), so any two forms of the same block have a dot
    product; `headwater.forms.dot` picks the algebra that avoids writing out where it can.
    """

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """The number of examples B."""

    @property
    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that hold the gradients, each with the B examples along its first axis."""

    @property
    @abstractmethod
    def positions(self) -> int:
        """How many terms are summed in one example's gradient (S); 1 where nothing is summed."""

    @property
    @abstractmethod
    def numbers(self) -> int:
        """The length of one gradient written out, P."""

    @abstractmethod
    def with_tensors(self, tensors: tuple[Tensor, ...]) -> Self:
        """The same kind of form around other tensors."""

    @abstractmethod
    def squared_norm(self) -> Float[Tensor, " B"]:
        """Each gradient's squared Euclidean norm."""

    @abstractmethod
    def materialise(self) -> Float[Tensor, "B P"]:
        """Each gradient written out, in the order in which the parameters are stored."""

    @abstractmethod
    def weighted_sum(self, weights: Float[Tensor, " B"]) -> Float[Tensor, " P"]:
        """The sum over examples of weight times gradient, without B gradients in memory."""

    @abstractmethod
    def magnitudes(self) -> Self:
        """The form with absolute values in its tensors; bounds the rounding of a weighted sum."""

    @classmethod
    @abstractmethod
    def cat(cls, forms: Sequence[Self]) -> Self:
        """The forms' examples, one after the other."""

    @abstractmethod
    def split(self, sizes: Sequence[int]) -> list[Form]:
        """One form per parameter of the block, whose sizes are given in order."""

    def examples(self, start: int, stop: int) -> Self:
        """The form of the examples from `start` to before `stop`."""
        return self.with_tensors(tuple(tensor[start:stop] for tensor in self.tensors))

    def pieces(self, numbers_each: float) -> Iterator[Self]:
        """The form cut into runs of about as many examples each, whose scratch stays in the cache.

        Args:
            numbers_each: how many numbers of scratch an example takes.
        """
        itemsize = max(tensor.element_size() for tensor in self.tensors)
        width = examples_per_piece(self.batch_size, numbers_each, itemsize)
        for start in range(0, self.batch_size, width):
            yield self.examples(start, start + width)

    @property
    def nbytes(self) -> int:
        """Bytes held by the tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors)
