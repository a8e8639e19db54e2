"""By what clipping by the norm multiplies gradients, to be differentiated."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# What `torch.nn.utils.clip_grad_norm_` adds to the norm.
_EPSILON = 1e-6


def clip_factor(gradients: Mapping[str, Tensor], max_norm: float | None) -> Tensor | None:
    """What `clip_grad_norm_` multiplies the gradients of all parameters by; None: it leaves them.

    Args:
        gradients: by parameter; the factor depends on them.
        max_norm: what their norm is clipped to; None doesn't clip.
    """
    if max_norm is None:
        return None
    norm = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
    factor = max_norm / (norm + _EPSILON)
    return None if float(factor.detach()) >= 1 else factor
