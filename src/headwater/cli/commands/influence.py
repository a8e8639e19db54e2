"""`headwater influence`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headwater.cli import options
from headwater.cli.asked import Asked
from headwater.cli.attribution import AttributionFile
from headwater.cli.output_file import refuse_unwritable

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Name the training examples behind predictions.")
@options.attribution_file
@options.queries("all")
@options.top_of_queries
@options.out
@options.as_json
@options.progress
def influence(attribution: Path, queries: options.Places, progress: bool, **wanted: Any) -> None:
    """Name the training examples behind predictions.

    A query is an example of query_dataset(). A proponent is a training
    example that lowered its loss when it was trained on, an opponent one that
    raised it.

    \b
      headwater influence attribution.py --queries 0:20 --k 10
      headwater influence attribution.py --queries 0:20 --out answers.parquet
      headwater influence attribution.py --sum          behind all of them
      headwater influence attribution.py --sum --by source
    """
    asked = Asked(**wanted)
    asked.refuse_odd()
    refuse_unwritable(asked.out)
    given = AttributionFile(attribution)
    estimator = given.estimator()
    picked = given.queries.picked(queries.of(given.queries.count))
    scores = estimator.attribute(
        **given.inputs(picked),
        queries=picked.columns,
        examples=given.train_columns,
        show_progress=progress,
    )
    asked.answer(scores)
