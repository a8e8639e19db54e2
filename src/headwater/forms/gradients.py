"""The per-example gradients of all selected parameters, block by block."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import torch

from headwater.forms.convolved import Convolved
from headwater.forms.dot import dot, for_pairs
from headwater.forms.factored import Factored
from headwater.forms.kindred import squared_norms
from headwater.forms.materialised import Materialised
from headwater.forms.outputs import OfOutputs
from headwater.forms.reduced import Reduced
from headwater.forms.scaled import Scaled
from headwater.forms.side_by_side import side_by_side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

    from headwater.forms.form import Form
    from headwater.forms.shared_inputs import SharedInputs

Block: TypeAlias = tuple[str, ...]
"""The names of the parameters whose gradients one form holds, in order."""


@dataclass(frozen=True)
class Gradients:
    """B per-example gradients as one form per block of parameters.

    A parameter that the batch's losses don't depend on has no block: its gradient is zero.

    Attributes:
        forms: the forms by block; no parameter is in two blocks.
        batch_size: the number of examples B.
        like: an empty tensor of the dtype and on the device in which products accumulate.
    """

    forms: Mapping[Block, Form]
    batch_size: int
    like: Tensor

    def dot(self, examples: Gradients, shared: SharedInputs | None = None) -> Float[Tensor, "Q B"]:
        """The product of each of these gradients with each of the other's, over all parameters.

        Args:
            examples: B gradients.
            shared: what checkpoints have in common of the examples.
        """
        total: Tensor | None = None
        for block, form in self.forms.items():
            if block in examples.forms:
                product = dot(form, examples.forms[block], shared)
                total = product if total is None else total.add_(product)
        if total is None:
            return self.like.new_zeros(self.batch_size, examples.batch_size)
        return total

    def widened(self) -> Gradients:
        """The same gradients with no `Reduced` among the forms."""
        if not any(isinstance(form, Reduced) for form in self.forms.values()):
            return self
        forms = {
            block: form.widened() if isinstance(form, Reduced) else form
            for block, form in self.forms.items()
        }
        return Gradients(forms, self.batch_size, self.like)

    def squared_norm(self, shared: SharedInputs | None = None) -> Float[Tensor, " B"]:
        """Each gradient's squared norm over all parameters.

        Args:
            shared: what checkpoints have in common of the examples.
        """
        total = self.like.new_zeros(self.batch_size)
        for norms in squared_norms(self.forms.values(), shared):
            total += norms
        return total

    def summed(self) -> Gradients:
        """The sum of all gradients, as one, written out."""
        ones = self.like.new_ones(self.batch_size)
        forms = {
            block: written_as(form, form.weighted_sum(ones)[None])
            for block, form in self.forms.items()
        }
        return Gradients(forms, 1, self.like)

    def for_pairs(self, *, queries: int) -> Gradients:
        """The same gradients in the forms in which products with many examples are cheapest.

        Args:
            queries: how many queries there are in all, these among them.
        """
        forms = {block: for_pairs(form, queries=queries) for block, form in self.forms.items()}
        return Gradients(forms, self.batch_size, self.like)

    def with_inputs_of(self, other: Gradients) -> Gradients:
        """The same gradients, holding the other's own tensors as inputs where they are equal.

        Saves memory, and tells `SharedInputs` what checkpoints have in common.
        """
        forms = dict(self.forms)
        for block, form in self.forms.items():
            same = other.forms.get(block)
            if (
                isinstance(form, Factored)
                and isinstance(same, Factored)
                and torch.equal(form.inputs, same.inputs)
            ):
                forms[block] = form.with_tensors((same.inputs, form.output_grads))
        return Gradients(forms, self.batch_size, self.like)

    def without_numbers(self) -> Gradients:
        """The same forms around tensors that have a shape and no memory, to see what they take."""
        forms = {
            block: form.with_tensors(
                tuple(torch.empty_like(tensor, device="meta") for tensor in form.tensors)
            )
            for block, form in self.forms.items()
        }
        return Gradients(forms, self.batch_size, torch.empty_like(self.like, device="meta"))

    def examples(self, start: int, stop: int) -> Gradients:
        """The gradients of the examples from `start` to before `stop`."""
        forms = {block: form.examples(start, stop) for block, form in self.forms.items()}
        return Gradients(forms, min(stop, self.batch_size) - start, self.like)

    def at(self, places: Int[Tensor, " M"]) -> Gradients:
        """The gradients of the examples in some places."""
        forms = {
            block: form.with_tensors(tuple(tensor[places] for tensor in form.tensors))
            for block, form in self.forms.items()
        }
        return Gradients(forms, len(places), self.like)

    @property
    def nbytes(self) -> int:
        """Bytes held by all forms."""
        return sum(form.nbytes for form in self.forms.values())

    @classmethod
    def cat(cls, batches: Sequence[Gradients]) -> Gradients:
        """The batches' examples, one after the other."""
        return cls.joined(list(batches))

    @classmethod
    def joined(cls, batches: list[Gradients], *, for_products: bool = False) -> Gradients:
        """`cat`, of batches that nothing else holds: a block at a time is in memory twice.

        Args:
            batches: at least one; the list is empty afterwards.
            for_products: whether blocks are laid out in memory so that products are fastest.
        """
        if len(batches) == 1 and not for_products:
            return batches.pop()
        blocks = dict.fromkeys(block for batch in batches for block in batch.forms)
        sizes, like = [batch.batch_size for batch in batches], batches[0].like
        parts = [dict(batch.forms) for batch in batches]
        batches.clear()
        forms: dict[Block, Form] = {}
        for block in blocks:
            form = _cat([part.pop(block, None) for part in parts], sizes)
            forms[block] = side_by_side(form) if for_products else form
        return cls(forms, sum(sizes), like)


def written_as(form: Form, gradients: Float[Tensor, "B P"]) -> Form:
    """Gradients that are written out, of the parameters, or of the outputs, that a form is of."""
    written = Materialised(gradients)
    return replace(form, form=written) if isinstance(form, OfOutputs) else written


def _cat(forms: list[Form | None], sizes: list[int]) -> Form:
    present = [form for form in forms if form is not None]
    if len(forms) == 1:
        return present[0]
    if len(present) == len(forms) and len({_shape(form) for form in present}) == 1:
        return type(present[0]).cat(present)
    # A batch that doesn't depend on the block, or whose form is of another kind (a parameter
    # that is used twice only in some batches): written out, they are all alike.
    written = next(form.materialise() for form in present)
    rows = [
        form.materialise() if form is not None else written.new_zeros(size, written.shape[1])
        for form, size in zip(forms, sizes, strict=True)
    ]
    return written_as(present[0], torch.cat(rows))


def _shape(form: Form) -> object:
    parts = getattr(form, "parts", (form,))
    return tuple(_kind(part) for part in parts)


def _kind(form: Form) -> object:
    if isinstance(form, (OfOutputs, Scaled)):
        return (type(form), _shape(form.form))
    if isinstance(form, Convolved):
        # Images of another size can't be joined.
        return (Convolved, form.inputs.shape[1:])
    return type(form)
