"""`headwater store append`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headwater import GradientStore
from headwater.cli import options
from headwater.cli.attribution import AttributionFile
from headwater.cli.attribution.attribution_file import ids_of
from headwater.cli.interrupted import advising
from headwater.cli.text import counted

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Add training examples.")
@options.attribution_file
@options.store_folder
@click.option(
    "--dataset",
    "name",
    required=True,
    metavar="NAME",
    help="A function of the file that returns the new examples, such as new_dataset.",
)
@options.progress
def append(attribution: Path, store: Path | str, name: str, progress: bool) -> None:
    """Add training examples to a store: all of them, or none.

    The file defines them as it does train_dataset(): a function new_dataset()
    and, if they have ids, new_columns() with a column "id". Otherwise they are
    numbered on.

    \b
      headwater store append attribution.py grads --dataset new_dataset
    """
    given = AttributionFile(attribution)
    dataset = given.value(name)
    ids = ids_of(given.columns(f"{name.removesuffix('_dataset')}_columns"))
    opened = GradientStore.open(store, given.estimator())
    before = len(opened)
    with advising(lambda: "Nothing was added; the same command begins anew."):
        opened.append(dataset, ids=ids, show_progress=progress)
    added = counted(len(opened) - before, "example")
    click.echo(f"{store}: {added} added, {len(opened):,} in all")
