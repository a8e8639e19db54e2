"""Gradients by plain autograd, for models that allow only one way of asking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


def gradients(loss: Callable[[], Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of a scalar by each parameter; zeros where it doesn't depend on one.

    Reentrant activation checkpointing works in `backward()` only, which writes to `.grad`; so that
    is the second try. `torch.autograd.grad` comes first since it triggers none of the hooks that
    act on accumulated gradients, such as an optimizer that steps in the backward pass.

    Args:
        loss: computes the scalar; called again for the second try.
        parameters: they have no `.grad` on entry, and none afterwards.
    """
    value = loss()
    if not value.requires_grad:
        return [torch.zeros_like(parameter) for parameter in parameters]
    found: Sequence[Tensor | None]
    try:
        found = torch.autograd.grad(value, parameters, allow_unused=True)
    except RuntimeError as error:
        if "checkpoint" not in str(error).lower():
            raise
        found = _by_backward(loss(), parameters)
    return [
        torch.zeros_like(parameter) if grad is None else _dense(grad)
        for parameter, grad in zip(parameters, found, strict=True)
    ]


def _by_backward(value: Tensor, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    try:
        value.backward()
        return [parameter.grad for parameter in parameters]
    finally:
        for parameter in parameters:
            parameter.grad = None


def _dense(grad: Tensor) -> Tensor:
    return grad.to_dense() if grad.is_sparse else grad.detach()
