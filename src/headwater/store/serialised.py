"""Forms as named tensors and a description, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headwater.errors import NonFiniteError, StoreCorruptError
from headwater.forms import Factored, Form, Gradients, Materialised, Rows, Summed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

# By form, the attributes beside its tensors.
_ATTRIBUTES: dict[str, tuple[type[Form], tuple[str, ...], int]] = {
    "factored": (Factored, ("bias", "layout"), 2),
    "materialised": (Materialised, (), 1),
    "rows": (Rows, ("table_rows",), 2),
}


def describe(
    gradients: Gradients, prefix: str, dtype: torch.dtype
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """A description of the gradients' blocks in JSON, and their tensors by name.

    Args:
        gradients: of some examples, which are the first axis of every tensor.
        prefix: what the names begin with.
        dtype: of the floating-point tensors. In float16 every gradient has a power of two of its
            own as scale, so that small ones don't vanish.

    Raises:
        NonFiniteError: a number is beyond the range of the dtype.
    """
    description: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for index, (block, form) in enumerate(gradients.forms.items()):
        told = _describe(form, f"{prefix}{index}", tensors, dtype)
        description.append({"block": list(block), **told})
    return description, tensors


def _describe(
    form: Form, name: str, tensors: dict[str, Tensor], dtype: torch.dtype
) -> dict[str, Any]:
    if isinstance(form, Summed):
        parts = [
            _describe(part, f"{name}.{index}", tensors, dtype)
            for index, part in enumerate(form.parts)
        ]
        return {"form": "summed", "parts": parts}
    kind = next(kind for kind, (cls, _, _) in _ATTRIBUTES.items() if type(form) is cls)
    *rest, gradient = form.tensors
    if dtype == torch.float16:
        tensors[f"{name}.scale"], gradient = _scaled(gradient)
    for index, tensor in enumerate([*rest, gradient]):
        if not tensor.is_floating_point():
            tensors[f"{name}.{index}"] = tensor.to(torch.int32).cpu()
            continue
        stored = tensor.to(dtype)
        if not bool(torch.isfinite(stored).all()):
            raise NonFiniteError(
                f"a number of block {name} is beyond the range of {dtype}; build the store with "
                f"dtype='bfloat16' or 'float32'"
            )
        tensors[f"{name}.{index}"] = stored.cpu().contiguous()
    attributes = {key: getattr(form, key) for key in _ATTRIBUTES[kind][1]}
    return {"form": kind, "name": name, **attributes}


def _scaled(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Each example's largest power of two, and its gradient divided by it, which is exact."""
    largest = gradient.flatten(1).abs().amax(dim=1)
    exponent = torch.frexp(largest)[1].to(torch.int16)
    shape = (-1, *(1 for _ in gradient.shape[1:]))
    return exponent.cpu(), torch.ldexp(gradient, -exponent.to(torch.int32).view(shape))


def restore(
    description: list[dict[str, Any]],
    tensors: Mapping[str, Tensor],
    start: int,
    stop: int,
    like: Tensor,
) -> Gradients:
    """The gradients of the examples from `start` to before `stop`, in the dtype of `like`.

    Raises:
        StoreCorruptError: the description isn't one that `describe` gives.
    """
    try:
        forms = {
            tuple(told["block"]): _restore(told, tensors, start, stop, like) for told in description
        }
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorruptError(f"a shard describes no known form ({error})") from error
    return Gradients(forms, stop - start, like)


def _restore(
    told: dict[str, Any], tensors: Mapping[str, Tensor], start: int, stop: int, like: Tensor
) -> Form:
    if told["form"] == "summed":
        uses = [_restore(use, tensors, start, stop, like) for use in told["parts"]]
        return Summed(tuple(uses))
    cls, attributes, count = _ATTRIBUTES[told["form"]]
    name = told["name"]
    parts = []
    for index in range(count):
        tensor = tensors[f"{name}.{index}"][start:stop]
        dtype = like.dtype if tensor.is_floating_point() else torch.int64
        parts.append(tensor.to(dtype))
    scale = tensors.get(f"{name}.scale")
    if scale is not None:
        shape = (-1, *(1 for _ in parts[-1].shape[1:]))
        parts[-1] = torch.ldexp(parts[-1], scale[start:stop].to(torch.int32).view(shape))
    return cls(*parts, **{key: told[key] for key in attributes})
