"""Gradients of a linear map as matrices: the shape in which Kronecker factors act on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import einsum

from headwater.forms import Convolved, Factored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms import Form


@dataclass(frozen=True)
class Kronecker:
    """A block that is a linear map, with a bias or without; J = I + 1 with a bias, else I.

    Attributes:
        groups: G, maps side by side.
        fan_out: outputs of one of them, O.
        fan_in: inputs of one of them, I.
        bias: whether the block has a bias, which acts as the weight of an input that is always 1.
        layout: as of `Factored`.
    """

    groups: int
    fan_out: int
    fan_in: int
    bias: bool
    layout: Literal["oi", "io"] = "oi"

    @classmethod
    def of(cls, form: Form) -> Kronecker | None:
        """What the form's block is; None where it is no linear map."""
        if isinstance(form, Factored):
            return cls(form.groups, form.fan_out, form.fan_in, form.bias, form.layout)
        if isinstance(form, Convolved):
            return cls(form.groups, form.fan_out, form.fan_in, form.bias)
        return None

    @property
    def columns(self) -> int:
        """Inputs with that of the bias, J."""
        return self.fan_in + self.bias

    @property
    def numbers(self) -> int:
        """The length of one gradient written out, P."""
        return self.groups * self.fan_out * self.columns

    def matrices(self, flat: Float[Tensor, "B P"]) -> Float[Tensor, "B G O J"]:
        """Gradients in the order of the parameters' storage as matrices, the bias's last."""
        size = self.groups * self.fan_out * self.fan_in
        weight = flat[:, :size]
        if self.layout == "oi":
            weight = weight.reshape(-1, self.groups, self.fan_out, self.fan_in)
        else:
            weight = weight.reshape(-1, self.groups, self.fan_in, self.fan_out).mT
        if not self.bias:
            return weight
        bias = flat[:, size:].reshape(-1, self.groups, self.fan_out, 1)
        return torch.cat([weight, bias], dim=3)

    def flat(self, matrices: Float[Tensor, "B G O J"]) -> Float[Tensor, "B P"]:
        """The way back."""
        weight = matrices[..., : self.fan_in]
        if self.layout == "io":
            weight = weight.mT
        if not self.bias:
            return weight.flatten(1)
        return torch.cat([weight.flatten(1), matrices[..., self.fan_in].flatten(1)], dim=1)


def factored_pieces(form: Factored | Convolved, *, scratch_each: int = 0) -> Iterator[Factored]:
    """The form's factors, as many examples at a time as stay in the cache.

    Args:
        scratch_each: how many numbers an example takes beside its factors.
    """
    if isinstance(form, Convolved):
        return form.factored_pieces(scratch_each=scratch_each)
    return form.pieces(scratch_each + form.groups * form.positions * (form.fan_in + form.fan_out))


def rotated(
    form: Factored, by_input: Float[Tensor, "G J K"], by_output: Float[Tensor, "G O L"]
) -> tuple[Float[Tensor, "B G S K"], Float[Tensor, "B G S L"]]:
    """The factors of the gradients U^T g V, for U on the outputs' side and V on the inputs'."""
    inputs = einsum("bgsi,gik->bgsk", form.inputs, by_input[:, : form.fan_in])
    if form.bias:
        inputs = inputs + by_input[:, form.fan_in][:, None]
    return inputs, einsum("bgso,gol->bgsl", form.output_grads, by_output)
