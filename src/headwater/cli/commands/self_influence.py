"""`headwater self-influence`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headwater.cli import options
from headwater.cli.answers import show_top, write_all
from headwater.cli.attribution import AttributionFile
from headwater.cli.output_file import refuse_unwritable

if TYPE_CHECKING:
    from pathlib import Path


@click.command("self-influence", short_help="Rank the training set: wrong labels first.")
@options.attribution_file
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    default=20,
    show_default=True,
    help="How many training examples to name.",
)
@click.option("--all", "everything", is_flag=True, help="Write every example's to --out.")
@click.option(
    "--by",
    metavar="COLUMN",
    help="The mean over training examples alike in a column of train_columns().",
)
@options.out
@options.as_json
@options.progress
def self_influence(
    attribution: Path,
    top: int,
    everything: bool,
    by: str | None,
    out: Path | None,
    as_json: bool,
    progress: bool,
) -> None:
    """Rank the training set: wrong labels, outliers and rare cases first.

    An example's self-influence is how far its own gradient moved its own
    loss, over all checkpoints. It is high where no other example taught the
    same: look at the first ones, and correct or drop what is wrong.

    \b
      headwater self-influence attribution.py
      headwater self-influence attribution.py --top 50 --out suspects.csv
      headwater self-influence attribution.py --by label
    """
    if everything and (out is None or as_json):
        raise click.UsageError("--all writes every score to a file; name it with --out")
    refuse_unwritable(out)
    given = AttributionFile(attribution)
    arguments: dict[str, Any] = {"examples": given.train_columns, "show_progress": progress}
    scores = given.estimator().attribute(**arguments)
    if by is not None:
        scores = scores.over_examples(by, how="mean")
        top = len(scores.ids or [])
    if everything:
        assert out is not None
        write_all(scores, out)
    else:
        show_top(scores.top_k(top), out=out, as_json=as_json)
