"""`headwater store`: the group of its subcommands."""

from __future__ import annotations

import click

from headwater.cli.commands.store_append import append
from headwater.cli.commands.store_build import build
from headwater.cli.commands.store_delete import delete
from headwater.cli.commands.store_info import info
from headwater.cli.commands.store_query import query
from headwater.cli.commands.store_verify import verify
from headwater.cli.in_order import InOrder


@click.group(cls=InOrder, short_help="Keep training gradients on disk, for many questions.")
def store() -> None:
    """Keep the training gradients on disk: build once, query often.

    \b
      headwater store build attribution.py grads
      headwater store query attribution.py grads --queries 0:20 --k 10
      headwater store delete grads 17 23 --compact
    """


for command in (build, query, append, delete, info, verify):
    store.add_command(command)
