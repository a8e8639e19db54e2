"""Forms as named tensors and a description, and back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch

from headwater.errors import NonFiniteError, StoreCorruptError
from headwater.forms import Factored, Form, Gradients, Materialised, Rows, Scaled, Summed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from headwater.store.scratch import Scratch

# By form, the attributes beside its tensors.
_ATTRIBUTES: dict[str, tuple[type[Form], tuple[str, ...], int]] = {
    "factored": (Factored, ("bias", "layout"), 2),
    "materialised": (Materialised, (), 1),
    "rows": (Rows, ("table_rows",), 2),
}


class Pool:
    """Named tensors, each contents once.

    What comes into the first layer is the same at every checkpoint; it is stored once.

    Attributes:
        tensors: by name.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[object, str] = {}

    def add(self, tensor: Tensor) -> str:
        """The name under which these numbers are kept."""
        flat = tensor.cpu().contiguous()
        digest = hashlib.sha256(flat.view(-1).view(torch.uint8).numpy().data).digest()
        key = (digest, flat.dtype, tuple(flat.shape))
        name = self._names.setdefault(key, f"{len(self._names):05d}")
        self.tensors.setdefault(name, flat)
        return name


def describe(gradients: Gradients, pool: Pool, dtype: torch.dtype) -> list[dict[str, Any]]:
    """A description of the gradients' blocks in JSON, which names tensors of the pool.

    Args:
        gradients: of some examples, which are the first axis of every tensor.
        pool: gets the tensors.
        dtype: of the floating-point tensors. In float16 every gradient has a power of two of its
            own as scale, so that small ones don't vanish.

    Raises:
        NonFiniteError: a number is beyond the range of the dtype.
    """
    return [
        {"block": list(block), **_describe(form, block, pool, dtype)}
        for block, form in gradients.forms.items()
    ]


def _describe(form: Form, block: tuple[str, ...], pool: Pool, dtype: torch.dtype) -> dict[str, Any]:
    if isinstance(form, Summed):
        parts = [_describe(part, block, pool, dtype) for part in form.parts]
        return {"form": "summed", "parts": parts}
    kind = next(kind for kind, (cls, _, _) in _ATTRIBUTES.items() if type(form) is cls)
    told: dict[str, Any] = {"form": kind}
    told.update({key: getattr(form, key) for key in _ATTRIBUTES[kind][1]})
    *rest, gradient = form.tensors
    if dtype == torch.float16:
        exponents, gradient = _scaled(gradient)
        told["exponents"] = pool.add(exponents)
    told["tensors"] = [pool.add(_as_stored(tensor, block, dtype)) for tensor in (*rest, gradient)]
    return told


def _as_stored(tensor: Tensor, block: tuple[str, ...], dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.to(torch.int32)
    stored = tensor.to(dtype)
    if not bool(torch.isfinite(stored).all()):
        raise NonFiniteError(
            f"a number of {', '.join(block)} is beyond the range of {dtype}; build the store with "
            f"dtype='bfloat16' or 'float32'"
        )
    return stored


def _scaled(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Each example's largest power of two, and its gradient divided by it, which is exact."""
    largest = gradient.flatten(1).abs().amax(dim=1)
    exponent = torch.frexp(largest)[1].to(torch.int16)
    shape = (-1, *(1 for _ in gradient.shape[1:]))
    return exponent, torch.ldexp(gradient, -exponent.to(torch.int32).view(shape))


def restore(
    description: list[dict[str, Any]],
    tensors: Mapping[str, Tensor],
    start: int,
    stop: int,
    like: Tensor,
    scratch: Scratch,
) -> Gradients:
    """The gradients of the examples from `start` to before `stop`, in the dtype of `like`.

    They last until the next with the same scratch.

    Raises:
        StoreCorruptError: the description isn't one that `describe` gives.
    """
    try:
        forms = {
            tuple(told["block"]): _restore(told, tensors, start, stop, like, scratch)
            for told in description
        }
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorruptError(f"a shard describes no known form ({error})") from error
    return Gradients(forms, stop - start, like)


def _restore(
    told: dict[str, Any],
    tensors: Mapping[str, Tensor],
    start: int,
    stop: int,
    like: Tensor,
    scratch: Scratch,
) -> Form:
    if told["form"] == "summed":
        uses = [_restore(use, tensors, start, stop, like, scratch) for use in told["parts"]]
        return Summed(tuple(uses))
    cls, attributes, count = _ATTRIBUTES[told["form"]]
    if len(told["tensors"]) != count:
        raise ValueError(f"{told['form']} with {len(told['tensors'])} tensors")
    parts = []
    for name in told["tensors"]:
        tensor = tensors[name][start:stop]
        dtype = like.dtype if tensor.is_floating_point() else torch.int64
        parts.append(scratch.converted(name, tensor, dtype))
    form = cls(*parts, **{key: told[key] for key in attributes})
    if "exponents" not in told:
        return form
    exponents = tensors[told["exponents"]][start:stop].to(torch.int32)
    return Scaled(form, torch.ldexp(torch.ones_like(exponents, dtype=like.dtype), exponents))
