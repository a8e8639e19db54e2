"""Everything about a model and the process that a call must leave as it found it."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and bool((a == b).all())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def tensor_facts(tensor: Tensor) -> dict[str, Any]:
    return {
        "identity": id(tensor),
        "storage": tensor.data_ptr(),
        "values": tensor.detach().clone(),
        "requires_grad": tensor.requires_grad,
        "is_leaf": tensor.is_leaf,
        "hooks": list(tensor._backward_hooks or ()),
        "grad identity": id(tensor.grad) if tensor.is_leaf and tensor.grad is not None else None,
        "grad": tensor.grad.clone() if tensor.is_leaf and tensor.grad is not None else None,
    }


def module_facts(module: nn.Module) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "class": id(type(module)),
        "training": module.training,
        "attributes": sorted(vars(module)),
        "parameters": {n: id(p) for n, p in module._parameters.items()},
        "buffers": {n: id(b) for n, b in module._buffers.items()},
        "children": {n: id(c) for n, c in module._modules.items()},
        "non-persistent": sorted(module._non_persistent_buffers_set),
    }
    for name, value in vars(module).items():
        if "hooks" in name:
            facts[name] = [(key, id(hook)) for key, hook in (value or {}).items()]
    return facts


def process_facts() -> dict[str, Any]:
    everywhere = vars(torch.nn.modules.module)
    return {
        "torch rng": torch.get_rng_state(),
        "numpy rng": np.random.get_state(),
        "python rng": random.getstate(),
        "attention fast path": torch.backends.mha.get_fastpath_enabled(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "default dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark),
        "attention kernels": (
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
        ),
        "global hooks": {
            name: list(value)
            for name, value in everywhere.items()
            if name.startswith("_global_") and isinstance(value, dict)
        },
    }


def snapshot(model: nn.Module) -> dict[str, Any]:
    facts = {f"parameter {n}": tensor_facts(p) for n, p in model.named_parameters()}
    facts |= {f"buffer {n}": tensor_facts(b) for n, b in model.named_buffers()}
    facts |= {f"module {n!r}": module_facts(m) for n, m in model.named_modules()}
    return facts | {"process": process_facts()}


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of what changed, so that a failure says it."""
    found = [f"{name}: came or went" for name in before.keys() ^ after.keys()]
    for name in before.keys() & after.keys():
        found.extend(
            f"{name}: {fact}"
            for fact in before[name].keys() | after[name].keys()
            if not same(before[name].get(fact), after[name].get(fact))
        )
    return sorted(found)
