"""The bank that `headwater evaluate` keeps: what it says of it, in the command line's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli.attribution.location import shown_path
from headwater.cli.interrupted import NOTHING_HALF_WRITTEN
from headwater.cli.notices import say
from headwater.cli.text import counted
from headwater.errors import BankError, BankMismatchError
from headwater.evaluation import RetrainedBank
from headwater.evaluation.bank_mismatch import described
from headwater.evaluation.wording import in_words

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.evaluation import Retraining, Subsets

_OPTIONS = {
    "count": "--subsets",
    "fraction": "--fraction",
    "runs": "--runs",
    "seed": "--seed",
    "queries": "--queries",
}


def kept_bank(
    folder: Path,
    retraining: Retraining,
    subsets: Subsets,
    queries: object,
    *,
    attribution: Path,
    show_progress: bool,
) -> RetrainedBank:
    """The bank in the folder, whose missing models are trained.

    Args:
        folder: the bank's.
        retraining, subsets, queries, show_progress: see `RetrainedBank.build`.
        attribution: the user's file.

    Raises:
        BankMismatchError: the folder has one of something else; names the options.
    """

    def told(there: int, wanted: int) -> None:
        place, models = shown_path(folder), counted(wanted, "model")
        if there == wanted:
            say(f"The bank in {place} is used again: {models}")
        elif there:
            say(f"The bank in {place} is gone on with: it lacks {wanted - there} of {models}")
        else:
            say(f"A bank is built in {place}: {models} to train")

    try:
        return RetrainedBank.build(
            folder, retraining, subsets, queries, on_begin=told, show_progress=show_progress
        )
    except BankMismatchError as error:
        raise BankMismatchError(
            _by_options(error.differs, folder, attribution), differs=error.differs, path=folder
        ) from error


def what_is_left(folder: Path) -> str:
    """What an interruption leaves of the bank, and what the same command does then."""
    try:
        there, wanted = RetrainedBank.finished(folder)
    except BankError:
        there = wanted = 0
    if not there:
        return NOTHING_HALF_WRITTEN
    if there < wanted:
        return (
            f"The bank in {shown_path(folder)} keeps {there} of {counted(wanted, 'model')}. The "
            f"same command goes on from there."
        )
    return (
        f"The bank in {shown_path(folder)} is complete. The same command uses its "
        f"{counted(wanted, 'model')} again."
    )


def _by_options(differs: dict[str, tuple[str, str]], folder: Path, attribution: Path) -> str:
    ways = []
    if any(name in _OPTIONS for name in differs):
        ways.append("give the same options again")
    if any(name not in _OPTIONS for name in differs):
        ways.append(f"put {shown_path(attribution)} back as it was")
    said = [_said(name, there, now) for name, (there, now) in differs.items()]
    return (
        f"the bank in {shown_path(folder)} was built with {in_words(said)}. To judge by it, "
        f"{in_words(ways)}; to build another beside it, pass --bank FOLDER"
    )


def _said(name: str, there: str, now: str) -> str:
    option = _OPTIONS.get(name)
    values = f" ({there} there, {now} now)" if there or now else ""
    if name == "queries":
        return f"other queries than --queries names{values}"
    if option is not None:
        return f"{option} {there} ({now} now)"
    return f"{described(name)}{values}"
