"""Gradients times one number, in the form that they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.forms.banded import Banded
from headwater.forms.summed import Summed

if TYPE_CHECKING:
    from headwater.forms.form import Form


def multiplied(form: Form, factor: float) -> Form:
    """Every gradient of the form, times the factor."""
    if isinstance(form, Summed):
        return Summed(tuple(multiplied(part, factor) for part in form.parts))
    if isinstance(form, Banded):
        return form.with_tensors(tuple(tensor * factor for tensor in form.tensors))
    # Gradients are linear in the last tensor of any other form: output gradients, values, factors.
    *rest, gradient = form.tensors
    return form.with_tensors((*rest, gradient * factor))
