"""By what clipping by the norm multiplies gradients, to be differentiated."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# What `torch.nn.utils.clip_grad_norm_` adds to the norm.
_EPSILON = 1e-6


def clip_factor(gradients: Mapping[str, Tensor], max_norm: float) -> Tensor:
    """What `clip_grad_norm_` multiplies the gradients of all parameters by: 1 at the most.

    Args:
        gradients: by parameter; the factor depends on them.
        max_norm: what their norm is clipped to.
    """
    norm = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
    return (max_norm / (norm + _EPSILON)).clamp(max=1)
