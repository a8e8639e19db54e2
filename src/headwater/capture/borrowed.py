"""The user's model for the time of a call, given back as it was found."""

from __future__ import annotations

import random
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy
import torch

from headwater.distributed import is_sharded, own_part, put, refuse_sharding, reshard
from headwater.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def eager(model: nn.Module) -> nn.Module:
    """The module that a `torch.compile` wrapper runs; hooks don't see inside compiled code."""
    inner = getattr(model, "_orig_mod", None)
    return inner if isinstance(inner, torch.nn.Module) else model


@contextmanager
def borrowed(model: nn.Module, *, in_step: bool = False) -> Iterator[None]:
    """Within: eval mode, gradients on, weights that may be overwritten. After: all as before.

    Parameters and buffers point to copies for the time being, so that loading checkpoints never
    writes to the user's own tensors. `.grad` is set aside; `requires_grad`, train/eval mode per
    module, hooks, random number generators, gradient mode and flags come back on every path.
    Of parameters that are sharded the numbers come back, in the memory that FSDP gathers from.

    Memory: one copy of the model, of a sharded one of this rank's part.

    Args:
        model: the model.
        in_step: whether all ranks go through it in step, as a sharded model needs.

    Raises:
        ModelError: a module stays in train mode, or normalises by statistics of the batch.
        InputError: the model is sharded, and the ranks wouldn't go through it in step.
    """
    reshard(model)
    refuse_sharding(model, supported=in_step)
    for name, parameter in model.named_parameters():
        if parameter.is_inference():
            raise ModelError(
                f"parameter {name!r} was made under torch.inference_mode() and can't be "
                f"differentiated; build or load the model outside of it"
            )
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_random_generators())
        stack.enter_context(_fast_path_off())
        stack.enter_context(_module_state(model))
        stack.enter_context(_computed_weights(model))
        stack.enter_context(_working_copies(model))
        stack.callback(reshard, model)
        evaluate(model)
        yield


def evaluate(model: nn.Module) -> None:
    """Puts the model in eval mode.

    Raises:
        ModelError: a module stays in train mode, or normalises by statistics of the batch.
    """
    model.eval()
    refuse_train_mode(model)
    for name, module in model.named_modules():
        if (
            isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
            and module.running_mean is None
        ):
            raise ModelError(
                f"{name!r} ({type(module).__name__}) keeps no running statistics and normalises by "
                f"its batch even in eval mode, so no example has a gradient of its own; use "
                f"track_running_stats=True, or GroupNorm or LayerNorm"
            )


def refuse_train_mode(model: nn.Module) -> None:
    """Raises ModelError if any module is in train mode."""
    training = [
        name or "the model itself" for name, module in model.named_modules() if module.training
    ]
    if training:
        raise ModelError(
            f"the model forces train mode: after model.eval(), {training[0]!r} is in train mode "
            f"({len(training)} modules in all). Dropout would make scores random and batch "
            f"statistics would mix examples; let train(False) reach every module"
        )


@contextmanager
def _random_generators() -> Iterator[None]:
    python, legacy, cpu = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        random.setstate(python)
        numpy.random.set_state(legacy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)


@contextmanager
def _fast_path_off() -> Iterator[None]:
    # In eval mode nn.TransformerEncoderLayer and nn.MultiheadAttention may run one fused kernel
    # that never calls the modules inside, so nothing could be recorded there.
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def _module_state(model: nn.Module) -> Iterator[None]:
    modules = list(model.modules())
    attributes = ("_parameters", "_buffers", "_modules", *_HOOKS)
    found: list[tuple[bool, dict[str, Any]]] = [
        (module.training, {name: dict(getattr(module, name)) for name in attributes})
        for module in modules
    ]
    try:
        for module in modules:
            # They watch, or change, the backward passes of training; ours are none of theirs, and
            # the gradient of the loss is what it is without them.
            module._backward_hooks.clear()
            module._backward_pre_hooks.clear()
        yield
    finally:
        for module, (training, contents) in zip(modules, found, strict=True):
            module.training = training
            for name, content in contents.items():
                current = getattr(module, name)
                if not _same(current, content):
                    current.clear()
                    current.update(content)


@contextmanager
def _computed_weights(model: nn.Module) -> Iterator[None]:
    """Gives back weights that hooks compute anew in every forward pass, as `weight_norm` does.

    They are plain attributes, of which recurrent layers keep a list besides.
    """
    modules = list(model.modules())
    computed = [
        {
            key: value
            for key, value in vars(module).items()
            if f"{key}_g" in module._parameters or f"{key}_orig" in module._parameters
        }
        for module in modules
    ]
    lists = [
        (module, name, each, list(each))
        for module in modules
        for name in ("_flat_weights", "_flat_weight_refs")
        if isinstance(each := vars(module).get(name), list)
    ]
    try:
        yield
    finally:
        for module, weights in zip(modules, computed, strict=True):
            # Not by assignment, which a recurrent layer listens to.
            vars(module).update(weights)
        for module, name, each, found in lists:
            each[:] = found
            vars(module)[name] = each


def _same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    # By identity, for comparing tensors by value would compare their entries; and in order, in
    # which hooks are called.
    return list(left) == list(right) and all(left[key] is right[key] for key in left)


@contextmanager
def _working_copies(model: nn.Module) -> Iterator[None]:
    parameters, buffers = list(model.parameters()), list(model.buffers())
    found = [(parameter.requires_grad, parameter.grad) for parameter in parameters]
    tensors: list[Tensor] = [*parameters, *buffers]
    # What can't be pointed elsewhere is copied here, and back at the end.
    originals = [own_part(t).clone() if is_sharded(t) else t.data for t in tensors]
    copies: dict[object, Tensor] = {}
    try:
        for tensor in tensors:
            if is_sharded(tensor):
                continue
            data = tensor.data
            # Tensors that share their memory go on sharing it.
            key = (
                (data.data_ptr(), data.shape, data.stride(), data.dtype)
                if data.numel()
                else object()
            )
            tensor.data = copies.setdefault(key, data.clone())
        for parameter in parameters:
            parameter.grad = None
        yield
    finally:
        for tensor, original in zip(tensors, originals, strict=True):
            put(tensor, original)
        for parameter, (requires_grad, grad) in zip(parameters, found, strict=True):
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
