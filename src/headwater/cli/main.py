"""The command's beginning and end: from arguments to an exit status."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

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


def run() -> NoReturn:
    """The command as a process: `main`, and the end of it."""
    status = main()
    if "WORLD_SIZE" in os.environ:
        # All is written, and the group is destroyed. But what PyTorch still holds of one, as it
        # does after `fully_shard`, ends in an abort now and then while the interpreter is taken
        # apart, and a job that is done would count as failed.
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    run()
