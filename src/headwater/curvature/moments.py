"""Second moments of gradients, added up batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import einsum

from headwater.curvature.kronecker import Kronecker, factored_pieces
from headwater.forms import Convolved, Factored, Rows
from headwater.linalg import widest

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms import Form


class KroneckerMoments:
    """Those of a linear map's inputs and of the gradients at its outputs, apart from each other.

        A = 1/N sum over n, s of a a^T        S = 1/T sum over n, s of d d^T

    for N examples and T positions in all. Positions that no loss depends on, such as padding, are
    left out of both: what a batch was padded to mustn't change them.

    Args:
        kind: the block.
        like: an empty tensor on the device to compute on.
    """

    def __init__(self, kind: Kronecker, like: Tensor) -> None:
        self.kind = kind
        wide = like.to(widest(like.device))
        self._inputs = wide.new_zeros(kind.groups, kind.columns, kind.columns)
        self._output_grads = wide.new_zeros(kind.groups, kind.fan_out, kind.fan_out)
        self._positions = wide.new_zeros(())

    def add(self, form: Factored | Convolved) -> None:
        """Takes a batch's gradients."""
        for piece in factored_pieces(form):
            self._add(piece)

    def _add(self, form: Factored) -> None:
        inputs, output_grads = form.inputs, form.output_grads
        counted = output_grads.ne(0).any(dim=3, keepdim=True)
        if form.positions == 1:
            self._positions += form.batch_size
            counted = torch.ones_like(counted)
        else:
            # A position counts for all groups of a layer, or for none.
            counted = counted.any(dim=1, keepdim=True).expand_as(counted)
            self._positions += counted[:, 0].sum()
        if form.positions > 1 and not bool(counted.all()):
            inputs = inputs * counted
        size, last = self.kind.fan_in, self.kind.bias
        self._inputs[:, :size, :size] += einsum("bgsi,bgsj->gij", inputs, inputs)
        if last:
            total = inputs.sum(dim=(0, 2))
            self._inputs[:, size, :size] += total
            self._inputs[:, :size, size] += total
            self._inputs[:, size, size] += counted.sum(dim=(0, 2, 3))
        self._output_grads += einsum("bgso,bgsp->gop", output_grads, output_grads)

    def merge(self, summed: Callable[[Tensor], Tensor]) -> None:
        """Adds up what several processes have each added up.

        Args:
            summed: from one's own tensor to the sum of all processes' tensors.
        """
        self._inputs = summed(self._inputs)
        self._output_grads = summed(self._output_grads)
        self._positions = summed(self._positions)

    def like_decomposed(self) -> list[Tensor]:
        """Tensors like the eigenvalues and eigenvectors of A, and those of S."""
        found = []
        for size in (self.kind.columns, self.kind.fan_out):
            found.append(self._inputs.new_empty(self.kind.groups, size))
            found.append(self._inputs.new_empty(self.kind.groups, size, size))
        return found

    def factors(self, examples: int) -> tuple[Float[Tensor, "G J J"], Float[Tensor, "G O O"]]:
        """A and S.

        Args:
            examples: how many were added, N.
        """
        positions = self._positions.clamp(min=1)
        return self._inputs / max(1, examples), self._output_grads / positions


def squared_sum(form: Form) -> Float[Tensor, " P"]:
    """The sum over examples of each entry's square."""
    if isinstance(form, Rows):
        return _squared_sum_of_rows(form)
    kind = Kronecker.of(form)
    if isinstance(form, Factored) and form.positions == 1 and kind is not None:
        inputs = form.inputs[:, :, 0].square()
        grads = form.output_grads[:, :, 0].square()
        weight = einsum("bgo,bgi->goi", grads, inputs)
        if form.bias:
            weight = torch.cat([weight, grads.sum(dim=0)[..., None]], dim=2)
        return kind.flat(weight[None])[0]
    total: Tensor | None = None
    numbers = form.numbers if isinstance(form, (Factored, Convolved)) else 1
    for piece in form.pieces(numbers):
        part = piece.materialise().square().sum(dim=0)
        total = part if total is None else total.add_(part)
    assert total is not None, "a batch has at least one example"
    return total


def _squared_sum_of_rows(form: Rows) -> Float[Tensor, " P"]:
    _, row, summed = summed_rows(form)
    table = form.values.new_zeros(form.table_rows, form.values.shape[2])
    return table.index_add_(0, row, summed.square()).flatten()


def summed_rows(form: Rows) -> tuple[Tensor, Tensor, Float[Tensor, "R E"]]:
    """The rows other than zero of the examples' tables: of which example, which row, its entries.

    An example that looks a row up several times has their sum in it, once.
    """
    owner = torch.arange(form.batch_size, device=form.ids.device)[:, None]
    keys, where = torch.unique((owner * form.table_rows + form.ids).flatten(), return_inverse=True)
    summed = form.values.new_zeros(len(keys), form.values.shape[2])
    summed.index_add_(0, where, form.values.flatten(0, 1))
    return keys // form.table_rows, keys % form.table_rows, summed
