"""Gradients of a convolution: factored, with inputs that are unfolded a few examples at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from headwater.forms.banded import Banded
from headwater.forms.cost import (
    bands_are_cheaper,
    examples_per_piece,
    groups_are_cheaper,
    norm_is_cheaper_factored,
    numbers_of_a_piece,
)
from headwater.forms.factored import Factored
from headwater.forms.form import Form
from headwater.forms.grouped import can_be_grouped, kernel_gradients
from headwater.forms.materialised import Materialised
from headwater.forms.precise import accumulating, precise
from headwater.forms.products import add_products, zeros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jaxtyping import Float


@dataclass(frozen=True)
class Convolved(Form):
    """Gradient n of a kernel: at every output position, output gradient times the window there.

    What `Factored` is with windows as inputs. Windows overlap, so that all of them take several
    times the memory of the inputs; they are copied out where they are used, into a buffer that
    stays in the cache. Where the kernel doesn't stride along its first axis, only windows along
    the other axes are: a shift along the first is another offset into the same memory. Where
    PyTorch reads windows where they lie, for every example apart, none are.

    Attributes:
        inputs: what came into the layer.
        output_grads: the gradient of the example's loss at the layer's output.
        kernel_size, stride, dilation: per spatial axis.
        groups: G, of C/G input channels and O/G output channels each.
        bias: whether the bias's gradient belongs to the block.
        padding: zeros to think at either end of each spatial axis of the inputs; empty: none.
    """

    inputs: Float[Tensor, "B C ..."]
    output_grads: Float[Tensor, "B O ..."]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    bias: bool = False
    padding: tuple[int, ...] = ()

    @property
    def batch_size(self) -> int:
        return self.inputs.shape[0]

    @property
    def positions(self) -> int:
        return prod(self.output_grads.shape[2:])

    @property
    def fan_in(self) -> int:
        """Numbers in a window of one group, I."""
        return self.inputs.shape[1] // self.groups * prod(self.kernel_size)

    @property
    def fan_out(self) -> int:
        """Output channels of one group, O/G."""
        return self.output_grads.shape[1] // self.groups

    @property
    def numbers(self) -> int:
        return self.groups * self.fan_out * (self.fan_in + self.bias)

    @property
    def windows(self) -> int:
        """Numbers in all windows of an example."""
        return self.groups * self.fan_in * self.positions

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.inputs, self.output_grads)

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> Convolved:
        return replace(self, inputs=tensors[0], output_grads=tensors[1])

    def of_outputs(self, first: int, stop: int) -> Convolved:
        """The gradients of some of the output channels' kernels, of those in a single group."""
        return self.with_tensors((self.inputs, self.output_grads[:, first:stop]))

    def of_groups(self, first: int, stop: int) -> Convolved:
        """The gradients of some of the groups' kernels."""
        inputs = self.inputs.unflatten(1, (self.groups, -1))[:, first:stop].flatten(1, 2)
        channels = slice(first * self.fan_out, stop * self.fan_out)
        return replace(
            self,
            inputs=inputs,
            output_grads=self.output_grads[:, channels],
            groups=stop - first,
        )

    def factored(self) -> Factored:
        """The same gradients with all windows copied out."""
        windows = unfolded(
            self._padded(self.inputs),
            self.kernel_size,
            self.stride,
            self.dilation,
            self.output_grads.shape[2:],
        )
        inputs = windows.flatten(2 + len(self.kernel_size)).flatten(1, -2)
        grads = self.output_grads.flatten(2)
        grouped = (part.unflatten(1, (self.groups, -1)).mT for part in (inputs, grads))
        by_group, grads_by_group = grouped
        return Factored(by_group, grads_by_group, bias=self.bias)

    def factored_pieces(self, *, scratch_each: int = 0) -> Iterator[Factored]:
        """The same gradients, as many examples at a time as stay in the cache.

        Args:
            scratch_each: how many numbers an example takes beside its windows.
        """
        return (piece.factored() for piece in self.pieces(self.windows + scratch_each))

    @property
    def as_groups(self) -> bool:
        """Whether gradients are best written out by one convolution, each example a group of it."""
        return groups_are_cheaper(self) and can_be_grouped(self)

    @property
    def in_bands(self) -> bool:
        """Whether gradients are best written out one offset along the first axis at a time."""
        return (
            self.stride[0] == 1
            and self.groups == 1
            and bands_are_cheaper(self)
            and not self.as_groups
        )

    def written(self) -> list[Float[Tensor, "B p"]]:
        """The gradients of the kernel, and those of a bias, by one convolution; see `as_groups`."""
        kernel = kernel_gradients(self)
        return [kernel, self._bias_gradients()] if self.bias else [kernel]

    def bands(
        self, *, queries: int = 1, out: Float[Tensor, "K B O M"] | None = None
    ) -> Iterator[tuple[int, int, int, Float[Tensor, "b O M"]]]:
        """The gradients written out for one offset along the kernel's first axis at a time.

        Of as many examples at a time as stay in the cache with what is copied out of their inputs.

        Args:
            queries: how many gradients each band will meet in a product.
            out: where the bands are written; None: into memory that the next one takes, too.

        Returns:
            one after the other: the first of the examples, the one after the last, the offset, and
            the band.
        """
        size, steps = self.batch_size, self.kernel_size[0]
        columns = self.inputs.shape[1] * prod(self.kernel_size[1:])
        height, *widths = self.output_grads.shape[2:]
        row = prod(widths)
        itemsize = self.inputs.element_size()
        band = numbers_of_a_piece(self.fan_out * columns, queries=queries, itemsize=itemsize)
        padded_height = self.inputs.shape[2] + 2 * self.zeros[0]
        windows = columns * padded_height * row
        at_once = examples_per_piece(size, windows + band, itemsize)
        scratch = out
        if scratch is None:
            scratch = self.inputs.new_empty(1, at_once, self.fan_out, columns)
        for start in range(0, size, at_once):
            stop = min(start + at_once, size)
            rows = unfolded(
                self._padded(self.inputs[start:stop]),
                (1, *self.kernel_size[1:]),
                (1, *self.stride[1:]),
                (1, *self.dilation[1:]),
                (padded_height, *widths),
            )
            inputs = rows.reshape(stop - start, columns, -1)
            grads = self.output_grads[start:stop].flatten(2)
            for step in range(steps):
                begin = step * self.dilation[0] * row
                seen = inputs[:, :, begin : begin + height * row]
                target = scratch[0, : stop - start] if out is None else out[step, start:stop]
                yield start, stop, step, torch.bmm(grads, seen.mT, out=target)

    def banded(self) -> Banded:
        """The same gradients written out, by offset along the kernel's first axis."""
        channels, further = self.inputs.shape[1], prod(self.kernel_size[1:])
        # By offset first, so that what a product of matrices writes to is one block of memory.
        shape = (self.kernel_size[0], self.batch_size, self.fan_out, channels * further)
        gradients = self.inputs.new_empty(shape)
        for _ in self.bands(out=gradients):
            pass
        biases = self._bias_gradients() if self.bias else None
        return Banded(gradients.transpose(0, 1), biases, (channels, *self.kernel_size))

    def _banded_pieces(self) -> Iterator[Banded]:
        """The same gradients written out, as many examples at a time as stay in the cache."""
        return (piece.banded() for piece in self.pieces(self.numbers))

    @property
    def zeros(self) -> tuple[int, ...]:
        """The padding of every spatial axis."""
        return self.padding or (0,) * len(self.kernel_size)

    def _padded(self, inputs: Float[Tensor, "b C ..."]) -> Float[Tensor, "b C ..."]:
        if not any(self.padding):
            return inputs
        return pad(inputs, [amount for amount in reversed(self.padding) for _ in range(2)])

    def _bias_gradients(self) -> Float[Tensor, "B O"]:
        return self.output_grads.flatten(2).sum(dim=2, dtype=accumulating(self.inputs.dtype))

    def dot_banded(self, queries: Banded) -> Float[Tensor, "Q B"]:
        """The products of written-out queries with these gradients, band by band."""
        size = queries.batch_size
        total = zeros(queries.band(0), self.batch_size)
        for start, stop, step, band in self.bands(queries=size):
            add_products(total[:, start:stop], queries.band(step), precise(band).flatten(1))
        if self.bias and queries.biases is not None:
            add_products(total, queries.biases, self._bias_gradients())
        return total

    def _norm_by_band(self) -> Float[Tensor, " B"]:
        total = self._zeros(self.batch_size)
        for start, stop, _, band in self.bands():
            norms = torch.linalg.vector_norm(precise(band).flatten(1), dim=1)
            total[start:stop] += norms.square_()
        if self.bias:
            total += torch.linalg.vector_norm(self._bias_gradients(), dim=1).square_()
        return total

    def _zeros(self, *shape: int) -> Tensor:
        return self.inputs.new_zeros(shape, dtype=accumulating(self.inputs.dtype))

    def _each(self, compute: Callable[[Factored], Tensor], scratch: int) -> Tensor:
        return torch.cat([compute(piece) for piece in self.factored_pieces(scratch_each=scratch)])

    def _norm_of_written(self) -> Float[Tensor, " B"]:
        norms = [
            torch.stack(
                [torch.linalg.vector_norm(precise(part), dim=1) for part in piece.written()]
            )
            for piece in self.pieces(self.numbers)
        ]
        return torch.cat(norms, dim=1).square_().sum(dim=0)

    def squared_norm(self) -> Float[Tensor, " B"]:
        if self.as_groups:
            return self._norm_of_written()
        copied = self.windows / self.kernel_size[0] if self.in_bands else self.windows
        if norm_is_cheaper_factored(self, copied_factored=self.windows, copied_written=copied):
            return self._each(Factored.norm_of_factors, 2 * self.groups * self.positions**2)
        if self.in_bands:
            return self._norm_by_band()
        return self._each(Factored.norm_of_written, self.numbers)

    def materialise(self) -> Float[Tensor, "B P"]:
        if self.as_groups:
            parts = [precise(part) for part in self.written()]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        if self.in_bands:
            return torch.cat([precise(piece.materialise()) for piece in self._banded_pieces()])
        return self._each(Factored.materialise, self.numbers)

    def weighted_sum(self, weights: Float[Tensor, " B"]) -> Float[Tensor, " P"]:
        total, start = self.inputs.new_zeros(self.numbers), 0
        pieces = self._banded_pieces() if self.in_bands else self.factored_pieces()
        for piece in pieces:
            stop = start + piece.batch_size
            total += piece.weighted_sum(weights[start:stop])
            start = stop
        return total

    def magnitudes(self) -> Convolved:
        return self.with_tensors((self.inputs.abs(), self.output_grads.abs()))

    @classmethod
    def cat(cls, forms: Sequence[Convolved]) -> Convolved:
        inputs, output_grads = zip(*(form.tensors for form in forms), strict=True)
        return forms[0].with_tensors((torch.cat(inputs), torch.cat(output_grads)))

    def split(self, sizes: Sequence[int]) -> list[Form]:
        weight = replace(self, bias=False)
        if not self.bias:
            return [weight]
        return [weight, Materialised(self._bias_gradients())]


def unfolded(
    inputs: Float[Tensor, "N C ..."],
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    output_size: Sequence[int],
) -> Tensor:
    """For every output position the inputs that a kernel sees there, as a view.

    Returns:
        shape (N, C, kernel..., positions...).
    """
    dims = len(kernel_size)
    for axis in range(dims):
        reach = dilation[axis] * (kernel_size[axis] - 1) + 1
        inputs = inputs.unfold(2 + axis, reach, stride[axis])[..., :: dilation[axis]]
        inputs = inputs.narrow(2 + axis, 0, output_size[axis])
    # (N, C, positions..., kernel...) -> (N, C, kernel..., positions...)
    return inputs.permute(0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims))
