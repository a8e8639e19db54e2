"""`headwater evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli import options
from headwater.cli.attribution import AttributionFile
from headwater.cli.evaluated.by_lds import BANK, by_lds
from headwater.cli.evaluated.by_mislabelling import by_mislabelling
from headwater.cli.evaluated.by_removal import by_removal
from headwater.cli.evaluated.fitting import refuse_unused
from headwater.cli.given_scores import parsed_scores
from headwater.cli.judged_table import parsed_table
from headwater.cli.launched import of_one_process
from headwater.errors import InputError
from headwater.evaluation import METHODS, methods_named

if TYPE_CHECKING:
    from headwater.evaluation import Method

_BY = {"lds": by_lds, "mislabel": by_mislabelling, "removal": by_removal}


def _parsed_methods(ctx: click.Context, param: click.Parameter, value: str) -> dict[str, Method]:
    try:
        return methods_named(name.strip() for name in value.split(","))
    except InputError as error:
        raise click.BadParameter(str(error)) from error


def _parsed_numbers(ctx: click.Context, param: click.Parameter, value: str) -> list[int]:
    try:
        return [int(part) for part in value.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: expected numbers, as in 10,50,200") from error


@click.command(short_help="Which method is right for this model? By retraining.")
@options.attribution_file
@click.option(
    "--measure",
    type=click.Choice(list(_BY)),
    default="lds",
    show_default=True,
    help="What is held against retraining; see above.",
)
@click.option(
    "--methods",
    callback=_parsed_methods,
    metavar="NAMES",
    default="tracin,tracin-fast,random",
    show_default=True,
    help=f"Some of {', '.join(METHODS)}.",
)
@options.queries("0:100")
@click.option(
    "--subsets",
    type=click.IntRange(min=3),
    metavar="N",
    default=100,
    show_default=True,
    help="lds: on how many halves of the data to train.",
)
@click.option(
    "--fraction", type=float, default=0.5, show_default=True, help="lds: another share than a half."
)
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    metavar="N",
    default=2,
    show_default=True,
    help="lds: models per half; from 2 on the ceiling is known.",
)
@click.option(
    "--quantity",
    type=click.Choice(["loss", "margin"]),
    default="loss",
    show_default=True,
    help="lds: what of the queries is predicted.",
)
@click.option(
    "--bank",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help=f"lds: where the models are kept; by default {BANK}, beside the file.",
)
@click.option(
    "--scores",
    "files",
    multiple=True,
    callback=parsed_scores,
    metavar="NAME=FILE",
    help="lds, removal: scores of another library, too: .npy or .npz with a row per training "
    "example, or a table that --all --out wrote.",
)
@click.option(
    "--flip",
    type=click.Choice(["uniform", "runner-up"]),
    default="uniform",
    show_default=True,
    help="mislabel: to any other class, or to the likeliest.",
)
@click.option(
    "--share", type=float, default=0.1, show_default=True, help="mislabel: of labels made wrong."
)
@click.option(
    "--remove",
    "removed",
    callback=_parsed_numbers,
    metavar="NUMBERS",
    default="10,50,200",
    show_default=True,
    help="removal: how many training examples.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="N",
    default=5,
    show_default=True,
    help="mislabel, removal: how often, with other seeds.",
)
@click.option(
    "--seed", type=int, metavar="N", default=0, show_default=True, help="Where seeds begin."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=parsed_table,
    metavar="FILE",
    help="Write the table: .md, .csv or .json, as its name ends.",
)
@options.as_json
@options.progress
@of_one_process
def evaluate(
    attribution: Path, measure: str, out: Path | None, as_json: bool, **wanted: Any
) -> None:
    """Judge methods by training again.

    Needs to know how the model is trained: `training`, a recipe of
    headwater.evaluation.Recipe, in the file; or, except for mislabel, a
    function `train(dataset, seed)` that returns a trained model.

    \b
    lds       trains on halves of the data. Do sums of scores over a half
              rank the losses that its models have? Models are kept, and an
              interrupted command goes on where it stopped.
    mislabel  makes some labels wrong, trains on them, and ranks the data by
              self-influence. Are the wrong ones first?
    removal   removes the strongest proponents of a query and trains again.
              Does its loss rise?

    \b
      headwater evaluate attribution.py
      headwater evaluate attribution.py --methods tracin --scores mine=s.npy
      headwater evaluate attribution.py --measure mislabel --out table.md
    """
    refuse_unused(measure)
    _BY[measure](AttributionFile(attribution), wanted).show(out=out, as_json=as_json)
