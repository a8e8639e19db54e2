"""How a command ended: its exit status, what is to be said of it, and no traceback of ours."""

from __future__ import annotations

import io
import os
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from headwater.cli.attribution.location import in_users_words
from headwater.cli.exit_codes import BAD_INPUT, BUG, DONE, INTERRUPTED, USAGE
from headwater.cli.interrupted import NOTHING_HALF_WRITTEN
from headwater.errors import HeadwaterError, RankError

if TYPE_CHECKING:
    from collections.abc import Callable

# What a shell reports of a program that was ended by SIGPIPE.
_READER_GONE = 141


@dataclass(frozen=True)
class Ending:
    """How a command ended.

    Attributes:
        status: its exit status.
        said: what the user is told on stderr; empty for nothing.
        elsewhere: the error of another process that this one ended for; None if it had its own.
    """

    status: int
    said: str = ""
    elsewhere: RankError | None = None


def ending_of(command: Callable[[], object]) -> Ending:
    """Runs a command; whatever it raises is turned into words.

    Args:
        command: returns its exit status, or something else once it is done.
    """
    try:
        status = command()
    except click.UsageError as error:
        text = io.StringIO()
        error.show(text)
        return Ending(USAGE, text.getvalue().rstrip("\n"))
    except (click.Abort, KeyboardInterrupt) as error:
        advice = getattr(error.__cause__, "advice", NOTHING_HALF_WRITTEN)
        return Ending(INTERRUPTED, f"\nInterrupted. {advice}")
    except BrokenPipeError:
        # Or else Python would complain once more, when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Ending(_READER_GONE)
    except Exception as error:
        return _explained(error)
    return Ending(status if isinstance(status, int) else DONE)


def _explained(error: Exception) -> Ending:
    """Says what went wrong, and whose it is."""
    if "HEADWATER_TRACEBACK" in os.environ:
        traceback.print_exception(error)
    elsewhere = error if isinstance(error, RankError) else None
    if isinstance(error, (HeadwaterError, OSError)) or getattr(error, "__notes__", None):
        # A note says that it came from within the user's model, loss or data.
        return Ending(BAD_INPUT, f"Error: {in_users_words(error)}", elsewhere)
    users = in_users_words(error, only_theirs=True)
    if users:
        return Ending(BAD_INPUT, f"Error: {users}")
    return Ending(
        BUG,
        f"Error: {type(error).__name__}: {error}\n\nThis is a bug in headwater, not in what you "
        f"gave it. To report it, run again with HEADWATER_TRACEBACK=1 in the environment, which "
        f"shows where it happens.",
    )
