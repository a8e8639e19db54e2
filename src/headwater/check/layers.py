"""By which way the gradients of each layer are captured, and what they take on disk."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.capture import Capture, PlanChanged, borrowed
from headwater.check.comparison import parts_of
from headwater.distributed import Together, class_name
from headwater.estimators.stored.writing import DTYPES, gradient_pass, stored_parts
from headwater.store import shard_contents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.engine.visiting import Recorded
    from headwater.estimators import TracInCPBase
    from headwater.estimators.streamed import Streamed

# Of ranks that go through a sharded model.
_FACTS = {"what is asked": "headwater check"}


@dataclass(frozen=True)
class Layer:
    """A layer with parameters that count.

    Attributes:
        name: its dotted name; empty for the model itself.
        kind: the name of its class.
        numbers: how many of its parameters' numbers count.
        fallback: the fallback's way, where no rule fits it; None where one does.
    """

    name: str
    kind: str
    numbers: int
    fallback: str | None


@dataclass(frozen=True)
class Layers:
    """The layers of a model whose parameters count.

    Attributes:
        layers: in the order of the model.
        stored_bytes: by form of a store, bytes per example at all checkpoints, in float32.
    """

    layers: list[Layer]
    stored_bytes: dict[str, int]

    @property
    def fallback(self) -> list[Layer]:
        """Those without a rule: equally right, and slower."""
        return [layer for layer in self.layers if layer.fallback is not None]

    @property
    def numbers(self) -> int:
        """How many numbers a gradient has."""
        return sum(layer.numbers for layer in self.layers)


def layers_of(estimator: TracInCPBase, places: Sequence[int]) -> Layers:
    """How the layers are captured, found out on some examples at all checkpoints.

    The completeness check is part of it: captured gradients are held against autograd's.

    Args:
        estimator: a `TracInCP` or `TracInCPFast`.
        places: of the training examples to look at.

    Raises:
        CaptureError: gradients disagree with autograd by every way.
    """
    parts = parts_of(estimator).with_form(None)
    capture = Capture(parts.net, parts.selection)
    recorded: Recorded | None = None
    with Together.sharing(parts.net, _FACTS) as together:
        while recorded is None:
            with suppress(PlanChanged):
                recorded = _recorded(parts, capture, places, together)
    forms = ("factored", "materialised")
    return Layers(
        _layers(parts, capture.fallback),
        {form: _stored_bytes(recorded, form) for form in forms},
    )


def stored_pass(estimator: TracInCPBase, size: int) -> None:
    """All that an exact store of the first examples takes, but for the disk."""
    parts = parts_of(estimator).with_form(None)
    capture = Capture(parts.net, parts.selection)
    data = parts.data.subset(range(size))
    passing = gradient_pass(parts, capture, data, parts.task, kind="training example")
    done = False
    with Together.sharing(parts.net, _FACTS) as together:
        while not done:
            with suppress(PlanChanged), borrowed(parts.net, in_step=True):
                with passing.begun(batch_size=None, skip=0, in_step=together) as (_, batches):
                    for recorded in batches:
                        _stored_bytes(recorded, "factored")
                done = True


def _recorded(
    parts: Streamed, capture: Capture, places: Sequence[int], together: Together | None
) -> Recorded:
    data = parts.data.subset(places)
    passing = gradient_pass(parts, capture, data, parts.task, kind="training example")
    with (
        borrowed(parts.net, in_step=True),
        passing.begun(batch_size=len(places), skip=0, in_step=together) as (_, batches),
    ):
        return next(batches)


def _stored_bytes(recorded: Recorded, form: str) -> int:
    kept = stored_parts(recorded, {"form": {"kind": form}})
    ids = range(recorded.size)
    contents = shard_contents(kept, ids, first=0, dtype=DTYPES["float32"], number=0, binding="")
    return len(contents) // recorded.size


def _layers(parts: Streamed, fallback: dict[str, str]) -> list[Layer]:
    parameters = dict(parts.net.named_parameters())
    found: dict[tuple[str, str | None], int] = {}
    for name in parts.selection:
        key = (name.rpartition(".")[0], fallback.get(name))
        found[key] = found.get(key, 0) + parameters[name].numel()
    return [
        Layer(owner, class_name(parts.net.get_submodule(owner)), numbers, way)
        for (owner, way), numbers in found.items()
    ]
