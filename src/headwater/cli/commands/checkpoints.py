"""`headwater checkpoints`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from headwater.check import checkpoint_facts
from headwater.cli import options
from headwater.cli.answers import show_json
from headwater.cli.attribution import AttributionFile
from headwater.cli.launched import of_one_process
from headwater.cli.sample import spread
from headwater.cli.text import aligned, counted, wrapped

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.check import CheckpointFacts


@click.command(short_help="What checkpoints are there, and which matter?")
@options.attribution_file
@click.option(
    "--recommend",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    metavar="N",
    help="How many checkpoints to recommend, where the recording knows its losses.",
)
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    metavar="N",
    default=64,
    show_default=True,
    help="On how many training examples loss and share are taken.",
)
@options.as_json
@of_one_process
def checkpoints(attribution: Path, recommend: int, examples: int, as_json: bool) -> None:
    """Say which checkpoints there are, and how much each contributes.

    The share is that of a checkpoint in self-influence: its rate times the
    squared gradients there. Where training examples are fitted, gradients are
    small, and a checkpoint only costs time.
    """
    given = AttributionFile(attribution)
    estimator = given.estimator(projection=None)
    places = spread(estimator, examples)
    facts = checkpoint_facts(estimator, places)
    names, reason = _recommended(given.checkpoints, recommend)
    if as_json:
        show_json(
            {
                "measured_on": len(places),
                "checkpoints": [
                    {
                        "name": one.name,
                        "rates": list(one.rates),
                        "loss": one.loss,
                        "share": one.share,
                        "recommended": None if names is None else one.name in names,
                    }
                    for one in facts
                ],
                "reason": reason,
            }
        )
        return
    count, sample = counted(len(facts), "checkpoint"), counted(len(places), "training example")
    click.echo(f"{count}; loss and share on {sample}\n")
    click.echo(aligned(_table(facts, names)))
    if names is not None:
        click.echo("\n" + wrapped(f"Recommended: {reason}"))
    else:
        click.echo(
            "\n"
            + wrapped(
                "Which to take is recommended for checkpoints of a CheckpointRecorder, which "
                "notes the training loss beside them: checkpoints = CheckpointSeries.open(folder). "
                "These are other ones."
            )
        )


def _table(facts: list[CheckpointFacts], names: set[str] | None) -> dict[str, list[Any]]:
    table: dict[str, list[Any]] = {
        "checkpoint": [one.name for one in facts],
        "rate": [" ".join(f"{rate:g}" for rate in one.rates) for one in facts],
        "loss": [one.loss for one in facts],
        "share": [f"{one.share:.1%}".rjust(6) for one in facts],
    }
    if names is not None:
        table["recommended"] = ["yes" if one.name in names else "" for one in facts]
    return table


def _recommended(checkpoints: Any, count: int) -> tuple[set[str] | None, str]:
    """The names of those that a recording recommends, and why; None if it's no recording."""
    recommend = getattr(checkpoints, "recommend", None)
    if not callable(recommend):
        return None, ""
    chosen = recommend(count)
    return {os.path.basename(os.fspath(one)) for one in chosen}, str(chosen.reason)
