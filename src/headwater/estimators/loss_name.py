"""A name for what was differentiated, that differs where its losses would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from headwater.engine.fingerprint import weights_digest
from headwater.tasks import Autocast, LogOdds, LossTask

if TYPE_CHECKING:
    from headwater.tasks import Task


def loss_name(task: Task) -> str:
    """The name of a task's loss with its settings, as far as names go.

    Of a Module: its repr, its public settings, and a digest of its tensors (class weights). What a
    function does inside is in no name; the losses of examples are compared for that.
    """
    if isinstance(task, Autocast):
        return f"{loss_name(task.task)} under autocast to {task.dtype}"
    if isinstance(task, LogOdds) and task.task is not None:
        return f"log-odds of {loss_name(task.task)}"
    if isinstance(task, LossTask):
        loss = task.loss_fn
        name = _module(loss) if isinstance(loss, nn.Module) else _name(loss)
        return f"{name} ({getattr(loss, 'reduction', 'no reduction said')})"
    return f"{_name(type(task))} {_settings(task)}"


def _module(loss: nn.Module) -> str:
    settings = {
        f"{path}.{name}" if path else name: value
        for path, module in loss.named_modules()
        for name, value in _settings(module).items()
        # The mode is no setting: `reduction` is said elsewhere, and losses know no other mode.
        if not name.startswith("_") and name not in ("training", "reduction")
    }
    tensors = any(True for _ in loss.parameters()) or any(True for _ in loss.buffers())
    return " ".join(
        [
            repr(loss),
            *([str(settings)] if settings else []),
            *([f"with tensors {weights_digest(loss)}"] if tensors else []),
        ]
    )


def _settings(thing: Any) -> dict[str, str | float]:
    return {
        key: value for key, value in vars(thing).items() if isinstance(value, (str, int, float))
    }


def _name(thing: Any) -> str:
    # Without the module, which is another when a script is run and when it is imported.
    name: str = getattr(thing, "__qualname__", type(thing).__qualname__)
    return name
