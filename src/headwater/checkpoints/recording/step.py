"""What has to be known of one update to take it again: its examples, and how it was taken."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headwater.checkpoints.recording.entry import Setting
from headwater.checkpoints.recording.manifest import Layout
from headwater.checkpoints.recording.optimizer import kind_of, layout_of, settings_of
from headwater.errors import InputError, RecordingCorruptError

# Written only where they aren't those of the step before.
_LASTING = ("optimizer", "layout", "settings", "evaluated")


@dataclass(frozen=True)
class RecordedStep:
    """One update of a training run.

    Attributes:
        step: how many updates the optimizer had taken before.
        examples: the places, in the training data, of the examples of its batch, in order.
        optimizer: the name of the optimizer's class.
        layout: the names of the parameters in every parameter group.
        settings: the hyperparameters of every group in this update.
        evaluated: the names of the modules that were in eval mode.
        rng: the state of PyTorch's CPU generator before the forward pass; None where the pass drew
            nothing from it.
    """

    step: int
    examples: tuple[int, ...]
    optimizer: str
    layout: Layout
    settings: tuple[Mapping[str, Setting], ...]
    evaluated: tuple[str, ...] = ()
    rng: bytes | None = None


class PendingBatch:
    """A batch that is about to go through the model.

    Args:
        examples: the places of its examples in the training data.

    Raises:
        InputError: they are no such places.
    """

    def __init__(self, examples: Iterable[int] | Tensor) -> None:
        self.examples = _places(examples)
        self._before = torch.get_rng_state()

    def step(self, number: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> RecordedStep:
        """The update that the optimizer is about to take with this batch's gradient."""
        drew = not torch.equal(self._before, torch.get_rng_state())
        return RecordedStep(
            step=number,
            examples=self.examples,
            optimizer=kind_of(optimizer),
            layout=layout_of(optimizer, model),
            settings=settings_of(optimizer),
            evaluated=tuple(name for name, module in model.named_modules() if not module.training),
            rng=self._before.numpy().tobytes() if drew else None,
        )


class StepLines:
    """Steps as lines of JSON, each with what differs from the line before."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}

    def line(self, step: RecordedStep) -> bytes:
        """The next line."""
        lasting = json.loads(json.dumps({key: getattr(step, key) for key in _LASTING}))
        told: dict[str, Any] = {"step": step.step, "examples": step.examples}
        told |= {key: value for key, value in lasting.items() if self._last.get(key) != value}
        if step.rng is not None:
            told["rng"] = base64.b64encode(step.rng).decode()
        self._last = lasting
        return json.dumps(told, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def read_steps(data: bytes, name: str) -> Iterator[tuple[RecordedStep, int]]:
    """The steps in a file's contents, each with the place of its line's end.

    Args:
        data: the contents.
        name: the file's, for messages.

    Raises:
        RecordingCorruptError: a line is none that was written, or steps are missing.
    """
    last: dict[str, Any] = {}
    end, expected = 0, None
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        end += len(line)
        try:
            told = json.loads(line)
            rng = told.pop("rng", None)
            last = {**last, **told}
            step = RecordedStep(
                step=int(last["step"]),
                examples=_places(told["examples"]),
                optimizer=str(last["optimizer"]),
                layout=tuple(tuple(group) for group in last["layout"]),
                settings=tuple(dict(group) for group in last["settings"]),
                evaluated=tuple(last["evaluated"]),
                rng=None if rng is None else base64.b64decode(rng, validate=True),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise RecordingCorruptError(
                f"line {number} of {name} is damaged ({error}); restore the file"
            ) from error
        if expected is not None and step.step != expected:
            raise RecordingCorruptError(
                f"line {number} of {name} is of update {step.step}, and that of update {expected} "
                f"is missing; restore the file"
            )
        expected = step.step + 1
        yield step, end


def _places(examples: Any) -> tuple[int, ...]:
    found = examples.tolist() if hasattr(examples, "tolist") else examples
    try:
        places = tuple(found)
    except TypeError:
        places = ()
    # A bool is an int too, and a mask no list of places.
    if not places or not all(type(place) is int and place >= 0 for place in places):
        shown = str(found)
        raise InputError(
            f"a batch's examples are {shown if len(shown) < 60 else shown[:60] + '...'}; expected "
            f"the places of its examples in the training data: whole numbers from 0 on, at least "
            f"one"
        )
    return places
