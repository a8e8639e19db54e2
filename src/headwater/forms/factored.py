"""Gradients of a linear map, kept as the two factors that autograd multiplies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import einsum
from torch.nn.functional import pad

from headwater.forms.cost import norm_is_cheaper_factored, runs_of_outputs
from headwater.forms.form import Form
from headwater.forms.materialised import Materialised
from headwater.forms.precise import accumulating, precise
from headwater.forms.shared_inputs import squared_norms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms.shared_inputs import SharedInputs


@dataclass(frozen=True)
class Factored(Form):
    """Gradient n of a weight, per group g: the sum over positions s of d_s x_s^T.

    With `bias` the block is the weight followed by the bias, as if every input had a 1 appended.
    Numbers held: S * (I + O) per example and group, where the gradient has I * O.

    Attributes:
        inputs: what came into the layer at each position.
        output_grads: the gradient of the example's loss at the layer's output.
        bias: whether the bias's gradient, the sum of d_s, belongs to the block.
        layout: how the weight is stored: "oi" as in `nn.Linear`, "io" as in GPT-2's Conv1D.
    """

    inputs: Float[Tensor, "B G S I"]
    output_grads: Float[Tensor, "B G S O"]
    bias: bool = False
    layout: Literal["oi", "io"] = "oi"

    @property
    def batch_size(self) -> int:
        return self.inputs.shape[0]

    @property
    def positions(self) -> int:
        return self.inputs.shape[2]

    @property
    def groups(self) -> int:
        """The number of groups G."""
        return self.inputs.shape[1]

    @property
    def fan_in(self) -> int:
        """Inputs of one group, I."""
        return self.inputs.shape[3]

    @property
    def fan_out(self) -> int:
        """Outputs of one group, O."""
        return self.output_grads.shape[3]

    @property
    def numbers(self) -> int:
        return self.groups * self.fan_out * (self.fan_in + self.bias)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.inputs, self.output_grads)

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> Factored:
        return replace(self, inputs=tensors[0], output_grads=tensors[1])

    def of_outputs(self, first: int, stop: int) -> Factored:
        """The gradients of some of the outputs' weights, of those in a single group."""
        return self.with_tensors((self.inputs, self.output_grads[..., first:stop]))

    def of_groups(self, first: int, stop: int) -> Factored:
        """The gradients of some of the groups' weights."""
        return self.with_tensors((self.inputs[:, first:stop], self.output_grads[:, first:stop]))

    def squared_norm(self) -> Float[Tensor, " B"]:
        if self.positions == 1:
            return self.norm_of_single()
        if norm_is_cheaper_factored(self):
            pieces = self.pieces(2 * self.groups * self.positions * self.positions)
            return torch.cat([piece.norm_of_factors() for piece in pieces])
        return torch.cat([piece.norm_of_written() for piece in self.pieces(self.numbers)])

    def norm_of_single(self, shared: SharedInputs | None = None) -> Float[Tensor, " B"]:
        """Squared norms where there is one position: (x . x + [bias]) (d . d)."""
        inputs = None if shared is None else shared.squared_norms(self.inputs)
        if inputs is None:
            inputs = squared_norms(self.inputs)
        return squared_norms(self.output_grads).mul_(inputs + int(self.bias)).sum(dim=1)

    def norm_of_written(self) -> Float[Tensor, " B"]:
        """Squared norms by writing out."""
        runs = runs_of_outputs(self)
        if runs > 1:
            return self._norm_by_outputs(-(-self.fan_out // runs))
        norms = [Materialised(precise(part)).squared_norm() for part in self.written()]
        return norms[0] if len(norms) == 1 else norms[0].add_(norms[1])

    def _norm_by_outputs(self, width: int) -> Float[Tensor, " B"]:
        weight = replace(self, bias=False)
        total = self.inputs.new_zeros(self.batch_size, dtype=accumulating(self.inputs.dtype))
        for first in range(0, self.fan_out, width):
            run = weight.of_outputs(first, first + width)
            total += torch.cat([part.norm_of_written() for part in run.pieces(run.numbers)])
        if self.bias:
            total += torch.linalg.vector_norm(self.bias_gradients(), dim=1).square_()
        return total

    def norm_of_factors(self) -> Float[Tensor, " B"]:
        """Squared norms without writing out: the sum over s and t of (x_s . x_t) (d_s . d_t)."""
        inputs, grads = precise(self.inputs), precise(self.output_grads)
        inputs, grads = inputs @ inputs.mT, grads @ grads.mT
        return (inputs.add_(1) if self.bias else inputs).mul_(grads).sum(dim=(1, 2, 3))

    def materialise(self) -> Float[Tensor, "B P"]:
        parts = [precise(part) for part in self.written()]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def written(self) -> list[Float[Tensor, "B p"]]:
        """What `materialise` joins: the gradients of the weight, and those of a bias."""
        if self.layout == "oi":
            weight = self.output_grads.mT @ self.inputs
        else:
            weight = self.inputs.mT @ self.output_grads
        if not self.bias:
            return [weight.flatten(1)]
        return [weight.flatten(1), self.bias_gradients()]

    def bias_gradients(self) -> Float[Tensor, "B O"]:
        """Those of a bias, written out."""
        dtype = accumulating(self.output_grads.dtype)
        return self.output_grads.sum(dim=2, dtype=dtype).flatten(1)

    def weighted_sum(self, weights: Float[Tensor, " B"]) -> Float[Tensor, " P"]:
        weighted = self.output_grads * weights[:, None, None, None]
        equation = "bgso,bgsi->goi" if self.layout == "oi" else "bgso,bgsi->gio"
        weight = einsum(equation, weighted, self.inputs).flatten()
        return torch.cat([weight, weighted.sum(dim=(0, 2)).flatten()]) if self.bias else weight

    def magnitudes(self) -> Factored:
        return self.with_tensors((self.inputs.abs(), self.output_grads.abs()))

    @classmethod
    def cat(cls, forms: Sequence[Factored]) -> Factored:
        # Padded sequences differ in length from batch to batch. A position whose output gradient
        # is zero adds nothing to any product, so filling up with zeros leaves every number exact.
        longest = max(form.positions for form in forms)
        filled = [
            tuple(pad(tensor, (0, 0, 0, longest - form.positions)) for tensor in form.tensors)
            for form in forms
        ]
        inputs, output_grads = zip(*filled, strict=True)
        return forms[0].with_tensors((torch.cat(inputs), torch.cat(output_grads)))

    def split(self, sizes: Sequence[int]) -> list[Form]:
        weight = replace(self, bias=False)
        if not self.bias:
            return [weight]
        return [weight, Materialised(self.output_grads.sum(dim=2).flatten(1))]
