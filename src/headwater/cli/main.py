"""The command's beginning and end: from arguments to an exit status, and no traceback of ours."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

from headwater.cli.exit_codes import BAD_INPUT, BUG, DONE, INTERRUPTED, USAGE
from headwater.cli.interrupted import NOTHING_HALF_WRITTEN
from headwater.cli.notices import notices_on_stderr
from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a shell reports of a program that was ended by SIGPIPE.
_READER_GONE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    try:
        import click
    except ImportError:
        return _failed(
            "the command line needs click, which isn't installed: pip install 'headwater[cli]'"
        )
    from headwater.cli.app import app

    with notices_on_stderr():
        try:
            # What it returns is the status of a command that ended by itself with one.
            status = app.main(args=arguments, prog_name="headwater", standalone_mode=False)
        except click.UsageError as error:
            error.show()
            return USAGE
        except (click.Abort, KeyboardInterrupt) as error:
            advice = getattr(error.__cause__, "advice", NOTHING_HALF_WRITTEN)
            print(f"\nInterrupted. {advice}", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            # Or else Python would complain once more, when it closes the stream.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _READER_GONE
        except Exception as error:
            return _explained(error)
    return status if isinstance(status, int) else DONE


def _explained(error: Exception) -> int:
    """Says what went wrong, and whose it is."""
    from headwater.cli.attribution.location import in_users_words

    if "HEADWATER_TRACEBACK" in os.environ:
        traceback.print_exception(error)
    if isinstance(error, (HeadwaterError, OSError)) or getattr(error, "__notes__", None):
        # A note says that it came from within the user's model, loss or data.
        return _failed(in_users_words(error))
    users = in_users_words(error, only_theirs=True)
    if users:
        return _failed(users)
    print(
        f"Error: {type(error).__name__}: {error}\n\nThis is a bug in headwater, not in what you "
        f"gave it. To report it, run again with HEADWATER_TRACEBACK=1 in the environment, which "
        f"shows where it happens.",
        file=sys.stderr,
    )
    return BUG


def _failed(message: str) -> int:
    print(f"Error: {message}", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
