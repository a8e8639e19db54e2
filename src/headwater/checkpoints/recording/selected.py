"""The rates of the parameters that count, out of those of an optimizer's parameter groups."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.checkpoints.keys import match_keys
from headwater.checkpoints.recording.checkpoint import RecordedCheckpoint
from headwater.errors import LearningRateError

_NAMES_SHOWN = 3


def selected_rates(
    checkpoint: RecordedCheckpoint, selection: Sequence[str], name: str
) -> dict[str, float]:
    """The rate of every selected parameter.

    Args:
        checkpoint: says the rates by parameter group.
        selection: the names of the parameters that count.
        name: what the checkpoint is called in messages.

    Raises:
        LearningRateError: a selected parameter is in no group, so that it has no rate.
    """
    recorded = {p: group.rate for group in checkpoint.groups for p in group.parameters}
    match = match_keys(list(selection), list(recorded))
    missing = [parameter for parameter in selection if parameter not in match]
    if missing:
        raise LearningRateError(
            f"{name} has no learning rate for {_listing(missing)}: not in the optimizer, so "
            f"training didn't move {'it' if len(missing) == 1 else 'them'}. Leave out what wasn't "
            f"trained: requires_grad_(False), or layers=[...] with what was; or pass "
            f"learning_rates=[...], one per checkpoint"
        )
    return {parameter: recorded[match[parameter]] for parameter in selection}


def one_rate(checkpoint: RecordedCheckpoint, selection: Sequence[str], name: str) -> float:
    """The rate that all selected parameters have; arguments as for `selected_rates`.

    Raises:
        LearningRateError: they don't have the same one, or one has none.
    """
    rates = set(selected_rates(checkpoint, selection, name).values())
    if len(rates) > 1:
        groups = "; ".join(
            f"{group.rate:g} for {_listing(group.parameters)}"
            for group in checkpoint.groups
            if group.parameters
        )
        raise LearningRateError(
            f"{name} has several learning rates: {groups}. One number can't stand for them; use an "
            f"estimator of headwater, which weighs each parameter by its own, or "
            f"select the layers of one group, or pass learning_rates=[...], one per checkpoint"
        )
    return rates.pop()


def _listing(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_NAMES_SHOWN]))
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
