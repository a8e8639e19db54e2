"""Finding the layers that PEFT put into a model, and what they hold for the active adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from headwater.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SAVED_WHOLE = "modules_to_save"
# PEFT's files have DoRA's magnitudes under the name of an older layout.
_WITHOUT_WEIGHT = "lora_magnitude_vector"


@dataclass(frozen=True)
class AdapterParameter:
    """One parameter of an active adapter.

    Attributes:
        name: its name in the model.
        adapter: the adapter's.
        saved_as: its key in what PEFT's `save_pretrained` writes, without the adapter's name.
    """

    name: str
    adapter: str
    saved_as: str


def adapter_parameters(model: nn.Module) -> list[AdapterParameter]:
    """The parameters of the adapters that are active, in the model's order; none without PEFT."""
    found: dict[str, AdapterParameter] = {}
    for name, module in _layers(model):
        for adapter in _active(module):
            for part in _parts(module):
                for rest in _held(getattr(module, part, None), adapter):
                    one = _named(name, part, adapter, rest)
                    found[one.name] = one
    return [found[name] for name, _ in model.named_parameters() if name in found]


def refuse_inactive(model: nn.Module, selection: Sequence[str]) -> None:
    """Raises ModelError if selected parameters are an adapter's that the model computes without.

    Their gradients would all be zero, and so would the scores.
    """
    selected = set(selection)
    for name, module in _layers(model):
        merged = bool(getattr(module, "merged", False))
        if not merged and not getattr(module, "disable_adapters", False):
            continue
        own = {f"{name}.{local}" if name else local for local, _ in module.named_parameters()}
        theirs = {one.name for one in adapter_parameters(model)} & own & selected
        if theirs:
            state, remedy = (
                ("merged into the weights of its layer", "model.unmerge_adapter()")
                if merged
                else ("disabled", "the block of `with model.disable_adapter()`, or enable it")
            )
            raise ModelError(
                f"the adapter of {name!r} is {state}, so the model computes without its "
                f"parameters ({min(theirs)!r} among the selected ones) and they have no gradient: "
                f"{'call ' if merged else 'leave '}{remedy}"
            )


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if _parts(module) and hasattr(module, "active_adapters"):
            yield name, module


def _parts(module: nn.Module) -> tuple[str, ...]:
    names: Any = getattr(type(module), "adapter_layer_names", None)
    if isinstance(names, tuple):
        return names
    return (_SAVED_WHOLE,) if _SAVED_WHOLE in module._modules else ()


def _active(module: nn.Module) -> list[str]:
    active: Any = getattr(module, "active_adapters", ())
    # A method in the mixin of transformers, a property in the layers of PEFT.
    active = active() if callable(active) else active
    return [active] if isinstance(active, str) else list(active)


def _held(container: Any, adapter: str) -> list[str]:
    """What a container holds for an adapter: the rest of each parameter's name after its key."""
    if isinstance(container, nn.ParameterDict):
        return [""] if adapter in container else []
    if isinstance(container, nn.ModuleDict) and adapter in container:
        return [f".{name}" for name, _ in container[adapter].named_parameters()]
    return []


def _named(name: str, part: str, adapter: str, rest: str) -> AdapterParameter:
    prefix = f"{name}." if name else ""
    if part == _SAVED_WHOLE:
        saved = f"{name}{rest}"
    elif part == _WITHOUT_WEIGHT:
        saved = f"{prefix}{part}"
    else:
        saved = f"{prefix}{part}{rest}"
    return AdapterParameter(f"{prefix}{part}.{adapter}{rest}", adapter, saved)
