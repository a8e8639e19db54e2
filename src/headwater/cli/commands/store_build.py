"""`headwater store build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from headwater import GradientStore, Projected
from headwater.cli import options
from headwater.cli.attribution import AttributionFile
from headwater.cli.attribution.attribution_file import ids_of
from headwater.cli.interrupted import NOTHING_HALF_WRITTEN, advising
from headwater.cli.text import counted, nbytes
from headwater.errors import StoreError
from headwater.estimators.stored import StoreFiles

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Store the gradients of the training examples.")
@options.attribution_file
@options.store_folder
@click.option(
    "--form",
    type=click.Choice(["factored", "materialised", "projected"]),
    default=None,
    help="factored: exact and small; materialised: exact, every number written out; projected: "
    "one vector per example, an estimate.  [default: what the file says, or factored]",
)
@click.option(
    "--dim",
    type=click.IntRange(min=1),
    metavar="N",
    default=512,
    show_default=True,
    help="The length of projected vectors.",
)
@click.option(
    "--seed", type=int, metavar="N", default=0, show_default=True, help="Picks the projection."
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16", "float64"]),
    default="float32",
    show_default=True,
    help="What numbers are stored as.",
)
@options.progress
def build(
    attribution: Path,
    store: Path | str,
    form: Literal["factored", "materialised", "projected"] | None,
    dim: int,
    seed: int,
    dtype: Literal["float32", "bfloat16", "float16", "float64"],
    progress: bool,
) -> None:
    """Store the gradients of the training examples, in the folder STORE.

    The one expensive pass over the training data. What is written is whole at
    every moment: after an interruption, even a crash, the same command goes on
    from the last file that was finished. Examples have the ids of
    train_columns(), or are numbered.

    \b
      headwater check attribution.py                  how large will it be?
      headwater store build attribution.py grads
      headwater store build attribution.py small --form projected --dim 512
    """
    given = AttributionFile(attribution)
    estimator = given.estimator()
    kept = Projected(dim, seed) if form == "projected" else form
    with advising(lambda: _what_is_left(store)):
        built = GradientStore.build(
            estimator,
            store,
            form=kept,
            dtype=dtype,
            ids=ids_of(given.train_columns),
            show_progress=progress,
        )
    size = nbytes(built.info()["nbytes"])
    click.echo(f"{store}: {counted(len(built), 'example')}, {size}")


def _what_is_left(store: Path | str) -> str:
    try:
        stored = StoreFiles(store).info()["examples"]
    except StoreError:
        return NOTHING_HALF_WRITTEN
    if not stored:
        return (
            "Nothing was stored yet: the first file wasn't finished. The same command begins anew."
        )
    return f"{counted(stored, 'example')} are stored. The same command goes on from there."
