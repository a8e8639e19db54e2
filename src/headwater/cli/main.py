"""The command's beginning and end: from arguments to an exit status."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from headwater.cli.exit_codes import BAD_INPUT
from headwater.cli.notices import notices_on_stderr
from headwater.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    try:
        import click  # noqa: F401
    except ImportError:
        return _failed(
            "the command line needs click, which isn't installed: pip install 'headwater[cli]'"
        )
    from headwater.cli.app import app
    from headwater.cli.ending import ending_of
    from headwater.cli.launched import Launched

    def command() -> object:
        with notices_on_stderr():
            # What it returns is the status of a command that ended by itself with one.
            return app.main(args=arguments, prog_name="headwater", standalone_mode=False)

    try:
        processes = Launched.found(os.environ)
    except InputError as error:
        return _failed(str(error))
    if processes is not None:
        return processes.run(command, ending_of)
    ending = ending_of(command)
    if ending.said:
        print(ending.said, file=sys.stderr)
    return ending.status


def _failed(message: str) -> int:
    print(f"Error: {message}", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
