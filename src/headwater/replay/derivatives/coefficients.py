"""The derivative of an update, coordinate by coordinate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from headwater.checkpoints import Setting
    from headwater.replay.derivatives.update import UpdateRule

Coefficients: TypeAlias = dict[str, dict[str, Tensor]]
"""By what comes out ("weight" or a moment's kind) and what went in ("weight", "gradient" or a kind)
the derivative of the one by the other; what isn't there is zero."""


def coefficients(
    rule: UpdateRule,
    weight: Tensor,
    gradient: Tensor,
    moments: Mapping[str, Tensor],
    settings: Mapping[str, Setting],
    *,
    frozen: bool,
) -> Coefficients:
    """The derivatives of an update; arguments as for `UpdateRule.update`.

    An update mixes no coordinates, so that each derivative is one number per coordinate, whatever
    it is multiplied by later.
    """
    given = {
        "weight": weight,
        "gradient": gradient,
        **{kind: value for kind, value in moments.items() if value.dim() and kind != "step"},
    }
    leaves = {name: value.detach().requires_grad_() for name, value in given.items()}
    others = {kind: value for kind, value in moments.items() if kind not in leaves}
    with torch.enable_grad():
        after, kept = rule.update(
            leaves["weight"],
            leaves["gradient"],
            {**others, **{kind: leaves[kind] for kind in moments if kind in leaves}},
            settings,
            frozen=frozen,
        )
        found: Coefficients = {}
        for name, value in {"weight": after, **kept}.items():
            parts = torch.autograd.grad(
                value.sum(), list(leaves.values()), retain_graph=True, allow_unused=True
            )
            found[name] = {
                source: part for source, part in zip(leaves, parts, strict=True) if part is not None
            }
    return found
