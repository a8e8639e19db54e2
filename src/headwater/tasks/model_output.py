"""What a model returned while a task computed its losses."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


@contextmanager
def returned(module: nn.Module) -> Iterator[list[Any]]:
    """Within, what a module returns is noted, call by call."""
    found: list[Any] = []
    handle = module.register_forward_hook(lambda _, __, output: found.append(output))
    try:
        yield found
    finally:
        handle.remove()


def tensor_in(output: Any) -> Tensor | None:
    """The tensor that a loss is taken of: the output, its logits, or its first of numbers.

    None where there is no such tensor.
    """
    if isinstance(output, Mapping):
        output = output.get("logits")
    elif not isinstance(output, Tensor):
        output = getattr(output, "logits", output)
    if isinstance(output, (tuple, list)):
        numbers = (p for p in output if isinstance(p, Tensor) and p.is_floating_point())
        output = next(numbers, None)
    return output if isinstance(output, Tensor) else None
