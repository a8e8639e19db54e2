"""What a question has settled of a model, for those that are asked after it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

from headwater.capture.registry import find_rule
from headwater.capture.stand_in import find_stand_in
from headwater.tasks.batch import leaves

if TYPE_CHECKING:
    from torch import nn

    from headwater.capture.learned import Learned
    from headwater.engine.batch_size import Taken
    from headwater.tasks import Task

Shapes: TypeAlias = tuple[Any, ...]
"""What every example of a batch has in common: shapes without the first axis, and dtypes."""


_PLAIN = (bool, int, float, str, type(None))
# Queries of any shape are remembered, but of a thousand lengths of text only the latest.
_MOST_KINDS = 16


def shapes_of(batch: Any) -> Shapes:
    """The shapes of a batch's examples."""
    return tuple(
        (tuple(leaf.shape[1:]), leaf.dtype) if isinstance(leaf, Tensor) else type(leaf).__name__
        for leaf in leaves(batch)
    )


@dataclass
class Asked:
    """Queries that rules were settled on.

    Attributes:
        task: what is differentiated for them.
        shapes: theirs.
        row_bytes: what is held of one of them, by what is computed and of how many at a time.
    """

    task: Task
    shapes: Shapes
    row_bytes: dict[tuple[type, int], float] = field(default_factory=dict)


@dataclass
class Settled:
    """How a model's gradients are captured, as far as questions have found it out.

    Whatever of it a later question takes over is held against autograd again with the first batch
    that it computes.

    Attributes:
        made: how the model was made, by `made_of`.
        learned: what batches have shown of it.
        taken: what a training example takes.
        sampled: the shapes of the training examples of which that is known.
        training: the shapes of those that rules were settled on.
        may_be_cut: whether their batches may be cut into examples.
        queries: likewise.
        exchanged_after: how many batches ranks have come to compute between two exchanges, by rows
            of the answer.
    """

    made: tuple[Any, ...] = ()
    learned: Learned | None = None
    taken: Taken | None = None
    sampled: Shapes | None = None
    training: Shapes | None = None
    may_be_cut: bool = False
    queries: list[Asked] = field(default_factory=list)
    exchanged_after: dict[int, int] = field(default_factory=dict)

    def asked(self, task: Task, batch: Any) -> Asked | None:
        """What is known of queries like these."""
        shapes = shapes_of(batch)
        alike = (each for each in self.queries if each.task is task and each.shapes == shapes)
        return next(alike, None)

    def anew(self) -> Settled:
        """Nothing of the same model."""
        return Settled(self.made)

    @property
    def compared(self) -> tuple[Any, ...]:
        """What has to be the same on ranks that take it over, which then go on alike."""
        queries = [
            (type(each.task).__qualname__, each.shapes, [*each.row_bytes.values()])
            for each in self.queries
        ]
        return (
            self.learned,
            self.taken,
            self.sampled,
            self.training,
            self.may_be_cut,
            queries,
            self.exchanged_after,
        )


class Remembered:
    """What an estimator's questions have settled, while its model stays as it is made."""

    def __init__(self) -> None:
        self._settled = Settled()

    def of(self, model: nn.Module) -> Settled:
        """What is known of the model, to be added to; what is added counts once it is kept."""
        made, known = made_of(model), self._settled
        if made != known.made:
            return Settled(made)
        queries = [replace(each, row_bytes=dict(each.row_bytes)) for each in known.queries]
        exchanged_after = dict(known.exchanged_after)
        return replace(known, queries=queries, exchanged_after=exchanged_after)

    def keep(self, settled: Settled, learned: Learned) -> None:
        """Takes over what a question that came to its end has settled, and learned."""
        settled.learned = learned
        settled.queries = settled.queries[-_MOST_KINDS:]
        self._settled = settled


def made_of(model: nn.Module) -> tuple[Any, ...]:
    """What a model consists of: modules with settings, hooks and rules, and shapes of parameters.

    Two that are equal are no proof that nothing has changed, since a module's `forward` may read
    whatever it likes.
    """
    modules = [(name, *_settings(module)) for name, module in model.named_modules()]
    parameters = [
        (name, tuple(parameter.shape), parameter.dtype, parameter.device, parameter.requires_grad)
        for name, parameter in model.named_parameters()
    ]
    return (*modules, *parameters)


def _settings(module: nn.Module) -> tuple[Any, ...]:
    own = vars(module)
    hooks = (module._forward_pre_hooks, module._forward_hooks, module._backward_hooks)
    plain = {
        name: value
        for name, value in own.items()
        # Every question sets eval mode.
        if name != "training" and _is_plain(value)
    }
    ways = (find_rule(module), find_stand_in(module))
    return (type(module), own.get("forward"), plain, *ways, *(tuple(each) for each in hooks))


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(isinstance(each, _PLAIN) for each in value)
    return isinstance(value, _PLAIN)
