"""Tables with a forward of their own: scaled word embeddings, positions counted inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from headwater.capture.rules.embedding import embedding
from headwater.capture.stand_in import Note, recognise_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def has_forward_of_its_own(module: nn.Module) -> bool:
    """Whether it is a subclass of `nn.Embedding` with another forward."""
    return isinstance(module, nn.Embedding) and type(module).forward is not nn.Embedding.forward


def looked_up(module: nn.Embedding, note: Note, *args: Any, **kwargs: Any) -> Any:
    """The module's own forward, with every look-up in its table noted on the way."""
    with _LookUps(module, note):
        return type(module).forward(module, *args, **kwargs)


class _LookUps(TorchFunctionMode):
    def __init__(self, module: nn.Embedding, note: Note) -> None:
        super().__init__()
        self._module = module
        self._note = note

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is functional.embedding:
            given = {**dict(zip(("input", "weight"), args, strict=False)), **(kwargs or {})}
            ids, table = given["input"], given["weight"]
            if table is self._module.weight and isinstance(output, Tensor):
                return self._note(self._module, (ids,), output, embedding)
        return output


recognise_stand_in(has_forward_of_its_own, looked_up)
