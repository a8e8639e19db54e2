"""Methods that have no figures, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli.notices import say
from headwater.errors import HeadwaterError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headwater.evaluation import Method, TrainedRun


def failures_said(failures: Mapping[str, str], *, judged: int) -> list[str]:
    """A sentence for each method that failed.

    Args:
        failures: by title, the error's message.
        judged: how many others have figures.

    Raises:
        InputError: no other has any, so that there is no table.
    """
    said = [f"{title} failed: {why}" for title, why in failures.items()]
    if failures and not judged:
        which = "the method" if len(said) == 1 else f"each of the {len(said)} methods"
        raise InputError("\n".join([f"{which} failed, so there is no table.", *said]))
    return said


def say_what_cannot_begin(methods: Mapping[str, Method], run: TrainedRun, *, others: int) -> None:
    """Says which methods lack something of the run, before hours of training models.

    Args:
        methods: by name.
        run: what they explain.
        others: how many else are judged.

    Raises:
        InputError: none of the methods can begin, and nothing else is judged.
    """
    failures = {}
    for method in methods.values():
        try:
            method.make(run)
        except HeadwaterError as error:  # noqa: PERF203 - the others can begin
            failures[method.title_of(run)] = str(error)
    for sentence in failures_said(failures, judged=len(methods) - len(failures) + others):
        say(f"Note: {sentence}")
