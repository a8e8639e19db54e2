"""A block's curvature by its eigenvectors and eigenvalues, and functions of it times gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import einsum

from headwater.curvature.kronecker import Kronecker, factored_pieces, rotated
from headwater.curvature.moments import summed_rows
from headwater.forms import Convolved, Factored, Rows

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms import Form


class Spectrum(ABC):
    """The eigenvalues of one block of P parameters, in a basis that the subclass knows.

    `values` below are numbers in the place of the eigenvalues, in their shape: f(eigenvalues) makes
    what is computed a product with f(curvature).
    """

    eigenvalues: Float[Tensor, ...]

    @abstractmethod
    def apply(self, form: Form, values: Float[Tensor, ...]) -> Float[Tensor, "B P"]:
        """The curvature with these values, times every gradient; written out."""

    @abstractmethod
    def quadratic(self, form: Form, values: Float[Tensor, ...]) -> Float[Tensor, " B"]:
        """Every gradient's product with that."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What kind of curvature it is, for descriptions."""

    @property
    def mean(self) -> float:
        """The mean eigenvalue."""
        return float(self.eigenvalues.mean())


@dataclass(frozen=True)
class KroneckerSpectrum(Spectrum):
    """Of a linear map: an eigenvector is a product of one of its inputs and one of its outputs.

    Attributes:
        kind: the block.
        by_input, by_output: eigenvectors, in columns.
        eigenvalues: by group, output and input direction.
    """

    kind: Kronecker
    by_input: Float[Tensor, "G J J"]
    by_output: Float[Tensor, "G O O"]
    eigenvalues: Float[Tensor, "G O J"]

    @property
    def words(self) -> str:
        kind = self.kind
        groups = f"{kind.groups} x " if kind.groups > 1 else ""
        return f"Kronecker factors {groups}({kind.fan_out} x {kind.columns})"

    def apply(self, form: Form, values: Tensor) -> Tensor:
        coordinates = self._coordinates(form).mul_(values)
        back = torch.matmul(torch.matmul(self.by_output, coordinates), self.by_input.mT)
        return self.kind.flat(back)

    def quadratic(self, form: Form, values: Tensor) -> Tensor:
        if isinstance(form, Factored) and form.positions == 1:
            inputs, grads = rotated(form, self.by_input, self.by_output)
            weighed = einsum("bgo,goj->bgj", grads[:, :, 0].square_(), values)
            return weighed.mul_(inputs[:, :, 0].square_()).sum(dim=(1, 2))
        pieces = (
            factored_pieces(form, scratch_each=2 * self.kind.numbers)
            if isinstance(form, (Factored, Convolved))
            else form.pieces(2 * self.kind.numbers)
        )
        flat = values.flatten()
        return torch.cat([self._coordinates(piece).square_().flatten(1) @ flat for piece in pieces])

    def squared_sum(self, form: Factored | Convolved) -> Float[Tensor, "G O J"]:
        """The sum over examples of the squares of their gradients' coordinates."""
        if isinstance(form, Factored) and form.positions == 1:
            inputs, grads = rotated(form, self.by_input, self.by_output)
            return einsum("bgo,bgj->goj", grads[:, :, 0].square_(), inputs[:, :, 0].square_())
        total = torch.zeros_like(self.eigenvalues)
        for piece in factored_pieces(form, scratch_each=self.kind.numbers):
            total += self._coordinates(piece).square_().sum(dim=0)
        return total

    def _coordinates(self, form: Form) -> Float[Tensor, "B G O J"]:
        """The gradients in the basis of eigenvectors."""
        if isinstance(form, Convolved):
            form = form.factored()
        if isinstance(form, Factored):
            inputs, grads = rotated(form, self.by_input, self.by_output)
            return grads.mT @ inputs
        matrices = self.kind.matrices(form.materialise())
        return torch.matmul(torch.matmul(self.by_output.mT, matrices), self.by_input)


@dataclass(frozen=True)
class DiagonalSpectrum(Spectrum):
    """Of any block: each parameter's own curvature, and nothing between parameters."""

    eigenvalues: Float[Tensor, " P"]

    @property
    def words(self) -> str:
        return f"diagonal ({self.eigenvalues.numel()})"

    def apply(self, form: Form, values: Tensor) -> Tensor:
        return form.materialise() * values

    def quadratic(self, form: Form, values: Tensor) -> Tensor:
        if isinstance(form, Rows):
            owner, row, summed = summed_rows(form)
            weighed = (summed.square() * values.view(form.table_rows, -1)[row]).sum(dim=1)
            return weighed.new_zeros(form.batch_size).index_add_(0, owner, weighed)
        pieces = form.pieces(2 * len(values))
        return torch.cat([piece.materialise().square() @ values for piece in pieces])
