"""Finding the state, the learning rate and hints about it in what a checkpoint holds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch

from headwater.checkpoints.keys import is_extra_state, without_wrappers
from headwater.checkpoints.rates import is_number, scalar
from headwater.errors import CheckpointError

_STATE_KEYS = ("model", "state_dict", "model_state_dict")
_RATE_KEY = "learning_rate"
_OPTIMIZER_KEYS = ("optimizer", "optimizer_state_dict", "optimizer_states")


@dataclass(frozen=True)
class Contents:
    """What was found in a checkpoint: its state, and its rate as stored (None: there is none).

    `optimizer_rates` are the rates in an optimizer's state, which are only ever a hint: a schedule
    may have moved them on from those that training used up to this checkpoint.
    """

    state: Mapping[str, object]
    rate: object
    optimizer_rates: tuple[float, ...] = ()


def find_contents(
    stored: Mapping[object, object], model_keys: Iterable[str], name: str
) -> Contents:
    """The state and the rate in a plain state dict, or in a mapping that holds one.

    Args:
        stored: a state dict, also with an additional learning_rate; or a mapping with a state
            dict under "model", "state_dict" or "model_state_dict".
        model_keys: the keys of the model's own state dict.
        name: what the checkpoint is called in messages.

    Raises:
        CheckpointError: there is no state dict where one is looked for.
    """
    for key in _STATE_KEYS:
        state = stored.get(key)
        if isinstance(state, Mapping) and _is_state(state):
            rates = tuple(dict.fromkeys(_optimizer_rates(stored)))
            return Contents(state, stored.get(_RATE_KEY), rates)
    state, rate = stored, None
    if _RATE_KEY in stored and all(without_wrappers(key) != _RATE_KEY for key in model_keys):
        state, rate = _without(stored, _RATE_KEY), stored[_RATE_KEY]
    if state and not _looks_like_state(state):
        shown = ", ".join(repr(key) for key in list(stored)[:5])
        raise CheckpointError(
            f"{name} holds no state dict: its keys are {shown}"
            f"{', ...' if len(stored) > 5 else ''}; expected a state dict, or a mapping with one "
            'under "model", "state_dict" or "model_state_dict", next to "learning_rate"'
        )
    return Contents(cast("Mapping[str, object]", state), rate)


def _is_state(mapping: Mapping[object, object]) -> bool:
    return all(
        isinstance(key, str) and (isinstance(value, torch.Tensor) or is_extra_state(key))
        for key, value in mapping.items()
    )


def _looks_like_state(mapping: Mapping[object, object]) -> bool:
    # One entry too many is for the comparison with the model to name, so one tensor is enough here.
    names = all(isinstance(key, str) for key in mapping)
    return names and any(isinstance(value, torch.Tensor) for value in mapping.values())


def _without(stored: Mapping[object, object], left_out: str) -> Mapping[object, object]:
    kept = OrderedDict((key, value) for key, value in stored.items() if key != left_out)
    if hasattr(stored, "_metadata"):
        # The version of every module, which `load_state_dict` reads to convert older states.
        kept._metadata = stored._metadata  # type: ignore[attr-defined]
    return kept


def _optimizer_rates(stored: Mapping[object, object]) -> Iterator[float]:
    for key in _OPTIMIZER_KEYS:
        held = stored.get(key)
        for optimizer in held if isinstance(held, list | tuple) else [held]:
            groups = optimizer.get("param_groups") if isinstance(optimizer, Mapping) else None
            for group in groups if isinstance(groups, list | tuple) else []:
                rate = group.get("lr") if isinstance(group, Mapping) else None
                if is_number(rate):
                    yield float(cast("float", scalar(rate)))
