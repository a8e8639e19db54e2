"""`headwater store verify`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from headwater.cli import options
from headwater.cli.exit_codes import FOUND_WRONG
from headwater.cli.launched import of_one_process
from headwater.cli.text import counted, nbytes
from headwater.errors import StoreCorruptError
from headwater.estimators.stored import StoreFiles

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Is every byte as it was written?")
@options.store_folder
@of_one_process
def verify(store: Path) -> None:
    """Read every byte of a store, and compare it with what was written.

    Exit code 1 if anything differs.
    """
    files = StoreFiles(store)
    facts = files.info()
    try:
        files.verify()
    except StoreCorruptError as error:
        print(f"Damaged: {error}", file=sys.stderr)
        raise click.exceptions.Exit(FOUND_WRONG) from error
    size, count = nbytes(facts["nbytes"]), counted(facts["shards"], "file")
    examples = counted(facts["examples"], "example")
    so_far = "" if facts["complete"] else "; its build was interrupted"
    click.echo(f"{store}: as it was written{so_far}. {count}, {size}, {examples}")
