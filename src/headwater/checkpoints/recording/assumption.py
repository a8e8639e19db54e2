"""What TracIn's assumption of plain SGD means for the optimizer that training used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headwater.checkpoints.recording.entry import Entry, Setting
from headwater.checkpoints.recording.rates import PLAIN, Rates

_ADAPTIVE = ("adam", "adagrad", "rmsprop", "rprop", "adadelta", "adafactor", "lamb", "lion")
_CHOICES = (
    "With rates='recorded' checkpoints are weighed by its learning rate and the scaling of "
    "coordinates is left out; learning_rates=[...] weighs them otherwise"
)


def assumption_notes(entries: Iterable[Entry], rates: Rates) -> tuple[str, ...]:
    """What the formula leaves out, a sentence or two per reason; nothing for plain SGD.

    TracIn follows the update w - rate * grad L(w): no momentum, no weight decay, no scaling.

    Args:
        entries: the recorded checkpoints.
        rates: what is made of their learning rates.
    """
    entries = tuple(entries)
    notes = [
        note
        for optimizer in dict.fromkeys(entry.optimizer for entry in entries)
        for note in _of_optimizer(optimizer, entries, rates)
    ]
    decays = _values("weight_decay", entries)
    if decays:
        notes.append(
            f"Weight decay {_listed(decays)} also moves the weights, and lets what an example did "
            f"fade; the formula knows only the loss's gradients, and no rate makes up for that."
        )
    if _values("maximize", entries):
        notes.append(
            "maximize=True climbs what the loss function gives: with that same loss function a "
            "positive score marks a training example that raised the query's value."
        )
    return tuple(notes)


def _of_optimizer(optimizer: str, entries: tuple[Entry, ...], rates: Rates) -> Iterable[str]:
    if optimizer in PLAIN:
        own = [entry for entry in entries if entry.optimizer == optimizer]
        momenta = _values("momentum", own)
        if momenta and rates == "effective":
            yield (
                f"Momentum {_listed(momenta)}: rates are lr * (1 - dampening) / (1 - momentum), "
                f"as far as a gradient moves the weights in all."
            )
        elif momenta:
            yield (
                f"Momentum {_listed(momenta)} lets each gradient act on in later steps, by a "
                f"factor of 1 / (1 - momentum) in all. Rates are the recorded ones here, which "
                f"leave that out; rates='effective' counts it."
            )
    elif any(kind in optimizer.lower() for kind in _ADAPTIVE):
        yield (
            f"{optimizer} scales each coordinate of its step by gradients of the past, so no "
            f"single rate tells how far an example moved the weights. {_CHOICES}."
        )
    else:
        yield (f"How {optimizer} makes its step of a gradient isn't known here. {_CHOICES}.")


def _values(key: str, entries: Iterable[Entry]) -> list[Setting]:
    """The values of a setting that aren't off."""
    settings: Iterable[Mapping[str, Setting]] = (s for entry in entries for s in entry.settings)
    found = (group.get(key) for group in settings)
    return list(dict.fromkeys(value for value in found if isinstance(value, int | float) and value))


def _listed(values: list[Setting]) -> str:
    shown = [f"{value:g}" for value in values if isinstance(value, int | float)]
    return shown[0] if len(shown) == 1 else f"{shown[0]} to {shown[-1]}"
