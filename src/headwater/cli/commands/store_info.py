"""`headwater store info`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headwater.cli import options
from headwater.cli.answers import show_json
from headwater.cli.launched import of_one_process
from headwater.cli.text import counted, nbytes
from headwater.estimators.stored import StoreFiles

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="What does a store hold, and what was it made of?")
@options.store_folder
@options.as_json
@of_one_process
def info(store: Path, as_json: bool) -> None:
    """Say what a store holds, and what it was made of."""
    facts = StoreFiles(store).info()
    if as_json:
        show_json(facts)
        return
    form = dict(facts["form"])
    settings = ", ".join(f"{name} {value}" for name, value in form.items() if name != "kind")
    selection = facts["selection"]
    shown = {
        "examples": f"{facts['examples']:,}",
        "build": "complete" if facts["complete"] else "interrupted: `store build` goes on with it",
        "deleted": f"{facts['deleted_but_on_disk']:,} still on the disk",
        "size": f"{nbytes(facts['nbytes'])} in {counted(facts['shards'], 'file')}, "
        f"{nbytes(facts['bytes_per_example'])} per example",
        "form": f"{form['kind']}{f' ({settings})' if settings else ''}, {facts['dtype']}",
        "loss": facts["loss"],
        "parameters": f"{len(selection)}, from {selection[0]} to {selection[-1]}",
        "rates": ", ".join(f"{rate:g}" for rate in facts["learning_rates"]),
        "written by": ", ".join(f"{name} {value}" for name, value in facts["versions"].items()),
    }
    for name, value in shown.items():
        click.echo(f"{name:12}{value}")
