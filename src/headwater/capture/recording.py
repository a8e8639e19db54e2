"""Forward hooks that note what goes into layers, and where in the graph their outputs lie."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Set

    from headwater.capture.registry import Rule
    from headwater.capture.stand_in import StandIn


@dataclass(frozen=True)
class Record:
    """One call of one module.

    Attributes:
        edges: the place in the graph of each tensor in the output. An edge, unlike the tensor, goes
            on meaning what the module returned after an in-place operation on it.
        versions: how often each argument had been written to when the module read it.
        view: whether an output is a view, whose edge an in-place operation takes out of the graph.
        rule: that of a piece that a stand-in noted; None leaves it to the module's type.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    edges: tuple[GradientEdge, ...]
    versions: tuple[int, ...]
    view: bool
    rule: Rule | None = None

    def inputs_unchanged(self) -> bool:
        """Whether no argument was written to since the module read it."""
        return self.versions == _versions(self.args, self.kwargs)


def _versions(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...]:
    return tuple([p._version for p in (*args, *kwargs.values()) if isinstance(p, Tensor)])


class Recorder:
    """Records the calls of some modules while it listens.

    Attributes:
        records: the calls, in order.
        copied: modules whose outputs are copied before the model goes on with them.
        spread: modules called once for the whole batch, whose outputs are repeated per example
            before the model goes on with them.
        batch_size: the number of examples in the batch that is listened to; None if unknown.
        overwritten: where the memory begins that the next checkpoint will be written to.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.copied: set[nn.Module] = set()
        self.spread: set[nn.Module] = set()
        self.batch_size: int | None = None
        self.overwritten: set[int] = set()
        self._listening = False

    @contextmanager
    def attached(
        self,
        modules: Iterable[nn.Module],
        stand_ins: Mapping[nn.Module, StandIn],
        is_wanted: Callable[[nn.Module], bool],
    ) -> Iterator[None]:
        """Within, the modules have the recorder's hook, and others compute by their stand-ins.

        Args:
            modules: whose calls are recorded.
            stand_ins: by module.
            is_wanted: whether a module's stand-in is still asked for.
        """
        # Before the user's own hooks: those may put something else in the output's place.
        handles = [
            module.register_forward_hook(self._record, with_kwargs=True, prepend=True)
            for module in modules
        ]
        for module, stand_in in stand_ins.items():
            module.forward = partial(self._stand_in, module, stand_in, is_wanted)
        try:
            yield
        finally:
            for module in stand_ins:
                vars(module).pop("forward", None)
            for handle in handles:
                handle.remove()

    @contextmanager
    def listening(self, batch_size: int | None) -> Iterator[None]:
        """Within, calls are recorded, from none on.

        Only during the forward pass: activation checkpointing calls modules again in the backward.
        """
        self.records = []
        self.batch_size = batch_size
        self._listening = True
        try:
            yield
        finally:
            self._listening = False

    def can_be_spread(self, module: nn.Module, args: tuple[Any, ...], size: int | None) -> bool:
        """Whether a module called once for a batch of some size may be repeated per example."""
        return module not in self.spread and once_for_all(args, size)

    def looked_up_for_all(self, modules: Set[nn.Module | None], size: int) -> set[nn.Module]:
        """Tables among some modules that were asked for one list of ids for all examples.

        Such as position embeddings, whose rule can't tell ids of a list as long as the batch is
        large from one id per example.
        """
        return {
            record.module
            for record in self.records
            if record.module in modules
            and isinstance(record.module, nn.Embedding)
            and self.can_be_spread(record.module, record.args, size)
        }

    def _record(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if not self._listening:
            return None
        replaced = None
        if self.spread and module in self.spread and once_for_all(args, self.batch_size):
            args, output = self._spread(args, output)
            replaced = output
        if self.copied and module in self.copied and isinstance(output, Tensor):
            output = replaced = output.clone()
        outputs = output if isinstance(output, (tuple, list)) else (output,)
        tensors = [part for part in outputs if isinstance(part, Tensor) and part.requires_grad]
        if tensors:
            # Lists, where generators would do: this runs at every call of every layer.
            kept = tuple([self._kept(part) for part in args])
            named = {key: self._kept(part) for key, part in kwargs.items()}
            edges = tuple([get_gradient_edge(tensor) for tensor in tensors])
            view = any([tensor._is_view() for tensor in tensors])  # noqa: C419
            self.records.append(Record(module, kept, named, edges, _versions(kept, named), view))
        return replaced

    def _spread(self, args: tuple[Any, ...], output: Tensor) -> tuple[tuple[Any, ...], Tensor]:
        """An argument and output that belong to all examples, once per example."""
        assert self.batch_size is not None
        first, *others = args
        if first.dim() == 1:
            first, output = first[None], output[None]
        repeated = (tensor.expand(self.batch_size, *tensor.shape[1:]) for tensor in (first, output))
        first, output = repeated
        # A copy, since the model may write to what it gets.
        return (first, *others), output.clone()

    def _kept(self, part: Any) -> Any:
        if not isinstance(part, Tensor):
            return part
        # Shares the argument's memory and its count of writes, not its graph. Forms of queries
        # outlive the checkpoint, so that what is a parameter itself, or a view of one, is copied.
        own = not self.overwritten or part.untyped_storage().data_ptr() not in self.overwritten
        return part.detach() if own else part.detach().clone()

    def _stand_in(
        self,
        module: nn.Module,
        stand_in: StandIn,
        is_wanted: Callable[[nn.Module], bool],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        output = NotImplemented
        if self._listening and is_wanted(module):
            output = stand_in(module, self._note, *args, **kwargs)
        return type(module).forward(module, *args, **kwargs) if output is NotImplemented else output

    def _note(
        self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, rule: Rule
    ) -> Tensor:
        if not output.requires_grad:
            return output
        if module in self.spread and once_for_all(inputs, self.batch_size):
            inputs, output = self._spread(inputs, output)
        edges = (get_gradient_edge(output),)
        args = tuple(self._kept(part) for part in inputs)
        versions = _versions(args, {})
        self.records.append(Record(module, args, {}, edges, versions, view=False, rule=rule))
        return output


def once_for_all(args: tuple[Any, ...], batch_size: int | None) -> bool:
    """Whether a module's first argument may have no axis of examples: (1, ...), or one axis."""
    first = args[0] if args else None
    if batch_size is None or batch_size < 2 or not isinstance(first, Tensor):
        return False
    return first.dim() == 1 or (first.dim() > 1 and first.shape[0] == 1)
