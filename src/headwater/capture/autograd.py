"""Gradients by plain autograd, for models that allow only one way of asking."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from headwater.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from headwater.distributed import Gathered


def gradients(loss: Callable[[], Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of a scalar by each parameter; zeros where it doesn't depend on one.

    Reentrant activation checkpointing works in `backward()` only, which writes to `.grad`.
    Otherwise it is `torch.autograd.grad`, which triggers none of the hooks that act on accumulated
    gradients, such as an optimizer that steps in the backward pass.

    Args:
        loss: computes the scalar.
        parameters: they have no `.grad` on entry, and none afterwards.
    """
    value = loss()
    if not value.requires_grad:
        return [torch.zeros_like(parameter) for parameter in parameters]
    found: Sequence[Tensor | None]
    if recomputes_reentrantly(value):
        found = _by_backward(value, parameters)
    else:
        found = torch.autograd.grad(value, parameters, allow_unused=True)
    return [
        torch.zeros_like(parameter) if grad is None else _dense(grad)
        for parameter, grad in zip(parameters, found, strict=True)
    ]


def own_gradients(
    loss: Callable[[], Tensor], parameters: Mapping[str, Tensor], gathered: Gathered, *, whole: bool
) -> dict[str, Tensor]:
    """The gradient of a scalar by each parameter, flat; zeros where it doesn't depend on one.

    Of a sharded model the gradients of this rank's own loss, which FSDP doesn't get to reduce: they
    are taken at the parameters that it gathered, and each is cut as soon as it is there, so that
    no two of them are in memory whole.

    Args:
        loss: computes the scalar.
        parameters: by name; they have no `.grad` on entry, and none afterwards.
        gathered: attached to the model.
        whole: whether whole gradients are wanted all the same; else this rank's part of each.

    Raises:
        CaptureError: the model is sharded and has reentrant activation checkpointing.
    """
    if not gathered.sharded:
        found = gradients(loss, list(parameters.values()))
        return {name: grad.flatten() for name, grad in zip(parameters, found, strict=True)}
    value = loss()
    if recomputes_reentrantly(value):
        gathered.reshard()
        raise CaptureError(
            "the model is sharded and recomputes activations by reentrant checkpointing, which "
            "allows no way to take a rank's own gradients; use use_reentrant=False (of "
            'transformers: gradient_checkpointing_kwargs={"use_reentrant": False})'
        )
    kept: dict[str, Tensor] = {}
    leaves = gathered.leaves(parameters)
    handles = []

    def keep(name: str, grad: Tensor) -> Tensor:
        flat = grad.detach().flatten()
        # Added up: autograd may come by more than once.
        part = flat if whole else gathered.own(flat)
        kept[name] = kept[name] + part if name in kept else part.clone()
        # Nothing has to be kept by autograd.
        return grad.new_zeros(()).expand_as(grad)

    try:
        if value.requires_grad and leaves:
            handles = [
                leaf.register_hook(partial(keep, name))
                for name, leaf in leaves.items()
                if leaf.requires_grad
            ]
            asked = [leaf for leaf in leaves.values() if leaf.requires_grad]
            torch.autograd.grad(value, asked, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
        gathered.reshard()
    for name, parameter in parameters.items():
        if name not in kept:
            flat = torch.zeros(parameter.numel(), dtype=parameter.dtype, device=parameter.device)
            kept[name] = flat if whole else gathered.own(flat)
    return {name: kept[name] for name in parameters}


def recomputes_reentrantly(value: Tensor) -> bool:
    """Whether a part of what led to a tensor is computed again by a backward pass of its own.

    `torch.autograd.grad` says so only where it has to go through that part: of parameters within,
    it says that nothing depends on them.
    """
    seen: set[Any] = set()
    ahead = [value.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        if "CheckpointFunction" in node.name():
            return True
        seen.add(node)
        ahead += [following for following, _ in node.next_functions]
    return False


def _by_backward(value: Tensor, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    try:
        value.backward()
        return [parameter.grad for parameter in parameters]
    finally:
        for parameter in parameters:
            parameter.grad = None


def _dense(grad: Tensor) -> Tensor:
    return grad.to_dense() if grad.is_sparse else grad.detach()
