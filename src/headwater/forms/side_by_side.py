"""Written-out gradients that meet many others, with each number of all of them side by side.

A product of Q gradients with B others runs over P numbers, which lie one after the other in both.
Some libraries of matrix products are several times as fast where the Q stand side by side: rows of
P numbers have to be rearranged in the midst of the product, and Q gradients meet batch after batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.forms.banded import Banded
from headwater.forms.cost import side_by_side_is_faster
from headwater.forms.materialised import Materialised
from headwater.forms.outputs import OfOutputs
from headwater.forms.products import lying_side_by_side

if TYPE_CHECKING:
    from headwater.forms.form import Form


def side_by_side(form: Form) -> Form:
    """The same gradients, side by side in memory where products with them are faster so."""
    if isinstance(form, OfOutputs):
        return OfOutputs(side_by_side(form.form), form.outputs)
    if isinstance(form, (Materialised, Banded)) and all(map(side_by_side_is_faster, form.tensors)):
        return form.with_tensors(tuple(map(lying_side_by_side, form.tensors)))
    return form
