"""Learning rates: what counts as one, and a list of them for a series of checkpoints."""

from __future__ import annotations

import math
import numbers
import reprlib
from collections.abc import Iterable, Mapping, Set
from itertools import islice
from typing import cast

from headwater.errors import LearningRateError

# A list of rates for a generator has no length to be held against: this ends an endless one.
_MOST_RATES = 1_000_000

HOW_TO_GIVE_RATES = (
    "pass learning_rates=[...], one per checkpoint, or save "
    '{"model": model.state_dict(), "learning_rate": x}'
)


def scalar(value: object) -> object:
    """The Python number in a 0-d tensor, a 0-d array or a numpy scalar; else the value itself."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        unwrapped: object = item()
        return unwrapped
    return value


def is_number(value: object) -> bool:
    """Whether the value is a real number (a bool is not)."""
    value = scalar(value)
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def as_rate(value: object, owner: str) -> float:
    """The learning rate as a float.

    Args:
        value: what was given as the rate.
        owner: what gave it, as the beginning of a sentence that goes on with 'learning rate ...'.

    Raises:
        LearningRateError: the value isn't a finite real number of at least 0.
    """
    if is_number(value):
        try:
            rate = float(cast("float", scalar(value)))
        except OverflowError:
            rate = math.inf
        if math.isfinite(rate) and rate >= 0:
            return rate
    raise LearningRateError(
        f"{owner} learning rate {reprlib.repr(value)} ({type(value).__name__}); "
        "a learning rate is a finite real number of at least 0"
    )


def as_rates(values: object, count: int | None) -> tuple[float, ...]:
    """The learning rates that the user gave, checked, one per checkpoint.

    Args:
        values: any ordered iterable of numbers.
        count: how many checkpoints there are; None if that isn't known yet.

    Raises:
        LearningRateError: it is no ordered iterable of rates, or there are not `count` of them.
    """
    unordered = isinstance(values, Mapping | Set | str)
    try:
        if unordered or not isinstance(values, Iterable):
            raise TypeError
        # One more than can be right is enough to know: an endless iterator ends here.
        given = list(islice(values, _MOST_RATES if count is None else count + 1))
    except TypeError as error:
        # Iterating over a 0-d tensor, too, is a TypeError.
        raise LearningRateError(
            f"learning_rates is {reprlib.repr(values)} ({type(values).__name__}); "
            "expected a list with one number per checkpoint, e.g. [0.1, 0.1, 0.05]"
        ) from error
    if count is not None and len(given) != count:
        raise wrong_count(_length(values, at_least=len(given)), str(count))
    return tuple(
        as_rate(x, f"learning_rates[{i}] gives checkpoint {i} the") for i, x in enumerate(given)
    )


def as_returned_rate(returned: object, name: str) -> float:
    """The learning rate that a loader of the user's own returned for a checkpoint.

    Raises:
        LearningRateError: it returned nothing, or what isn't a rate.
    """
    if is_number(returned):
        return as_rate(returned, f"checkpoints_load_func returned for {name} the")
    raise LearningRateError(
        f"checkpoints_load_func returned {reprlib.repr(returned)} ({type(returned).__name__}) for "
        f"{name}; it must return the learning rate, a number (or pass learning_rates=[...], one "
        "per checkpoint)"
    )


def wrong_count(rates: str, checkpoints: str) -> LearningRateError:
    """The error that there are not as many rates as checkpoints."""
    return LearningRateError(
        f"learning_rates has {rates} entries, and the number of checkpoints is {checkpoints}; "
        "pass one rate per checkpoint, in the checkpoints' order"
    )


def _length(values: object, *, at_least: int) -> str:
    try:
        return str(len(values))  # type: ignore[arg-type]
    except TypeError:
        return f"{at_least} (or more)"
