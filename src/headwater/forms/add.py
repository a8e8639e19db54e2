"""The sum of forms: a parameter that is used several times has the sum of its uses' gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.forms.banded import Banded
from headwater.forms.convolved import Convolved
from headwater.forms.factored import Factored
from headwater.forms.materialised import Materialised
from headwater.forms.reduced import Reduced
from headwater.forms.rows import Rows
from headwater.forms.scaled import Scaled
from headwater.forms.summed import Summed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.forms.form import Form


def add(forms: Sequence[Form]) -> Form:
    """The sum of forms of the same block, as one form.

    Uses that have the same algebra become one form with more positions: a sum over the positions
    of both uses is the sum of the uses. The rest stays apart in a `Summed`.
    """
    if len(forms) == 1:
        return forms[0]
    kinds: dict[object, list[Form]] = {}
    for form in map(_plain, forms):
        kinds.setdefault(_kind(form), []).append(form)
    merged = [_merge(same) for same in kinds.values()]
    return merged[0] if len(merged) == 1 else Summed(tuple(merged))


def _plain(form: Form) -> Form:
    """The form in which it can be joined with others."""
    if isinstance(form, Reduced):
        return _plain(form.widened())
    if isinstance(form, Convolved):
        return form.factored()
    return Materialised(form.materialise()) if isinstance(form, Banded) else form


def _kind(form: Form) -> object:
    if isinstance(form, Factored):
        # Positions can be joined only where the factors have the same sizes.
        return (Factored, form.inputs.shape[1], form.inputs.shape[3], form.bias, form.layout)
    # Scaled gradients have a factor each, so that they stay apart.
    return id(form) if isinstance(form, Scaled) else type(form)


def _merge(forms: list[Form]) -> Form:
    first = forms[0]
    if len(forms) == 1:
        return first
    if isinstance(first, Materialised):
        return Materialised(torch.stack([form.materialise() for form in forms]).sum(dim=0))
    if isinstance(first, (Factored, Rows)):
        axis = 2 if isinstance(first, Factored) else 1
        joined = zip(*(form.tensors for form in forms), strict=True)
        return first.with_tensors(tuple(torch.cat(tensors, dim=axis) for tensors in joined))
    return Summed(tuple(part for form in forms if isinstance(form, Summed) for part in form.parts))
