"""`headwater store query`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headwater import GradientStore
from headwater.cli import options
from headwater.cli.answers import show_top
from headwater.cli.asked import Asked
from headwater.cli.attribution import AttributionFile
from headwater.cli.output_file import refuse_unwritable

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.query import Side


@click.command(short_help="Name the training examples behind predictions.")
@options.attribution_file
@options.store_folder
@options.queries("all")
@options.top_of_queries
@click.option(
    "--recompute",
    type=click.IntRange(min=1),
    metavar="N",
    help="Score the N best candidates of each query exactly, from the training data.",
)
@click.option(
    "--approximate",
    type=click.IntRange(min=1),
    metavar="N",
    help="Let faiss look for N candidates per query, in a projected store.",
)
@options.out
@options.as_json
def query(
    attribution: Path,
    store: Path | str,
    queries: options.Places,
    recompute: int | None,
    approximate: int | None,
    **wanted: Any,
) -> None:
    """Name the training examples behind predictions, from a store.

    As `headwater influence`, without a pass over the training data. The store
    must be of this file's model, loss and checkpoints; it says which differs.

    \b
      headwater store query attribution.py grads --queries 0:20 --k 10
      headwater store query attribution.py small --recompute 100
    """
    asked = Asked(**wanted)
    asked.refuse_odd()
    in_stages = recompute is not None or approximate is not None
    if in_stages and (asked.summed or asked.by or asked.everything):
        raise click.UsageError(
            "--recompute and --approximate are for naming the strongest examples of each query; "
            "leave out --sum, --by and --all"
        )
    if in_stages and asked.side == "both":
        raise click.UsageError(
            "--recompute and --approximate search one side at a time; add --side proponents or "
            "--side opponents"
        )
    refuse_unwritable(asked.out)
    given = AttributionFile(attribution)
    opened = GradientStore.open(store, given.estimator())
    picked = given.queries.picked(queries.of(given.queries.count))
    scores = opened.attribute(
        **given.inputs(picked), queries=picked.columns, examples=given.known_of(opened.ids)
    )
    if not in_stages:
        asked.answer(scores)
        return
    side: Side = "proponents" if asked.side == "proponents" else "opponents"
    top = opened.top_k(
        **given.inputs(picked),
        k=asked.k,
        side=side,
        recompute=recompute,
        approximate=approximate,
    )
    named = scores.named({side: (top.indices, top.influence_scores)}, exact=top.exact)
    show_top(named, out=asked.out, as_json=asked.as_json)
