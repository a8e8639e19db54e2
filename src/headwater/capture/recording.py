"""Forward hooks that note what goes into layers, and where in the graph their outputs lie."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True)
class Record:
    """One call of one module.

    Attributes:
        edges: the place in the graph of each tensor in the output. An edge, unlike the tensor, goes
            on meaning what the module returned after an in-place operation on it.
        versions: how often each argument had been written to when the module read it.
        view: whether an output is a view, whose edge an in-place operation takes out of the graph.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    edges: tuple[GradientEdge, ...]
    versions: tuple[int, ...]
    view: bool

    def inputs_unchanged(self) -> bool:
        """Whether no argument was written to since the module read it."""
        return self.versions == _versions(self.args, self.kwargs)


def _versions(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...]:
    tensors = (part for part in (*args, *kwargs.values()) if isinstance(part, Tensor))
    return tuple(tensor._version for tensor in tensors)


class Recorder:
    """Records the calls of some modules while it listens.

    Attributes:
        records: the calls, in order.
        copied: modules whose outputs are copied before the model goes on with them.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.copied: set[nn.Module] = set()
        self._listening = False

    @contextmanager
    def attached(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """Within, the modules have the recorder's hook."""
        # Before the user's own hooks: those may put something else in the output's place.
        handles = [
            module.register_forward_hook(self._record, with_kwargs=True, prepend=True)
            for module in modules
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, calls are recorded, from none on.

        Only during the forward pass: activation checkpointing calls modules again in the backward.
        """
        self.records = []
        self._listening = True
        try:
            yield
        finally:
            self._listening = False

    def _record(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if not self._listening:
            return None
        replaced = None
        if module in self.copied and isinstance(output, Tensor):
            output = replaced = output.clone()
        outputs = output if isinstance(output, (tuple, list)) else (output,)
        tensors = [part for part in outputs if isinstance(part, Tensor) and part.requires_grad]
        if tensors:
            self.records.append(
                Record(
                    module,
                    tuple(_detached(part) for part in args),
                    {key: _detached(part) for key, part in kwargs.items()},
                    tuple(get_gradient_edge(tensor) for tensor in tensors),
                    _versions(args, kwargs),
                    any(tensor._is_view() for tensor in tensors),
                )
            )
        return replaced


def _detached(part: Any) -> Any:
    # Shares the argument's memory and its count of writes, not its graph.
    return part.detach() if isinstance(part, Tensor) else part
