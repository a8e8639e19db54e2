"""Gradients clipped by their norm, to be differentiated."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# What `torch.nn.utils.clip_grad_norm_` adds to the norm.
_EPSILON = 1e-6


def clipped(gradients: Mapping[str, Tensor], max_norm: float, *, frozen: bool) -> dict[str, Tensor]:
    """What `clip_grad_norm_` makes of the gradients of all parameters.

    Args:
        gradients: by parameter.
        max_norm: what their norm is clipped to.
        frozen: whether the factor counts as given.
    """
    norm = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
    factor = max_norm / (norm + _EPSILON)
    if float(factor.detach()) >= 1:
        return dict(gradients)
    if frozen:
        factor = factor.detach()
    return {name: gradient * factor for name, gradient in gradients.items()}
