"""`headwater evaluate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import torch

from headwater.cli import options
from headwater.cli.attribution import AttributionFile
from headwater.cli.attribution.retrained import (
    recipe_retraining_of,
    retraining_of,
    trained_run_of,
)
from headwater.cli.given_scores import parsed_scores, read_scores
from headwater.cli.interrupted import advising
from headwater.cli.judged_table import JudgedTable, parsed_table
from headwater.cli.launched import of_one_process
from headwater.errors import InputError
from headwater.evaluation import (
    METHODS,
    RecipeRetraining,
    RetrainedBank,
    Subsets,
    judge_by_detection,
    judge_by_lds,
    methods_named,
    removal_curve,
)
from headwater.evaluation.judging import scores_of
from headwater.results.names import ID, Names

if TYPE_CHECKING:
    from headwater.cli.attribution.query_set import Queries
    from headwater.evaluation import Method

_BANK = "evaluation-bank"


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
    type=click.Choice(["lds", "mislabel", "removal"]),
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
    help=f"lds: where the models are kept; by default {_BANK}, beside the file.",
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
    given = AttributionFile(attribution)
    judge = {"lds": _by_lds, "mislabel": _by_mislabelling, "removal": _by_removal}[measure]
    judge(given, wanted).show(out=out, as_json=as_json)


def _by_lds(given: AttributionFile, wanted: dict[str, Any]) -> JudgedTable:
    picked = _picked(given, wanted)
    retraining = retraining_of(given)
    subsets = Subsets(
        wanted["subsets"], wanted["fraction"], wanted["runs"], wanted["seed"], "report"
    )
    folder = wanted["bank"] or given.path.resolve().parent / _BANK
    files = _files(given, picked, wanted["files"], retraining.count)
    with advising(lambda: f"The models in {folder} are kept. The same command goes on from there."):
        bank = RetrainedBank.build(
            folder, retraining, subsets, picked.batch, show_progress=wanted["progress"]
        )
    found = judge_by_lds(
        wanted["methods"],
        trained_run_of(given, seed=wanted["seed"]),
        bank,
        given.inputs(picked),
        given=files,
        quantity=wanted["quantity"],
    )
    rows = [
        {
            "method": one.title,
            "LDS": float("nan") if one.lds is None else one.lds.value,
            "from": float("nan") if one.lds is None else one.lds.low,
            "to": float("nan") if one.lds is None else one.lds.high,
            "seconds": one.seconds,
        }
        for one in found.values()
    ]
    ceilings = [one.lds.ceiling for one in found.values() if one.lds is not None]
    ceiling = ceilings[0] if ceilings else None
    failures = [f"{one.title} failed: {one.failure}" for one in found.values() if one.failure]
    return JudgedTable(
        f"Linear datamodeling score by {subsets.count} subsets of {subsets.fraction:g} of "
        f"{bank.count:,} training examples, {subsets.runs} models each, over {bank.queries} "
        f"queries' {wanted['quantity']}",
        rows,
        [
            "LDS is the rank correlation between sums of scores over subsets and what models that "
            "were trained on them say, with an interval of 95 % over subsets and queries.",
            "The ceiling isn't known from one model per subset; pass --runs 2."
            if ceiling is None
            else f"Ceiling: {ceiling:.3f}. The rest is noise of the seeds, which no scores can "
            f"predict.",
            *failures,
        ],
    )


def _by_mislabelling(given: AttributionFile, wanted: dict[str, Any]) -> JudgedTable:
    retraining = recipe_retraining_of(given)
    whole = retraining.data.whole
    if not isinstance(whole, (tuple, list)):
        raise InputError("wrong labels need training examples (inputs..., label)")
    made = partial(
        RecipeRetraining,
        retraining._model,
        recipe=retraining.recipe,
        loss_fn=given.loss_fn,
        task=given.task,
        at_once=1,
    )
    seeds = range(wanted["seed"], wanted["seed"] + wanted["seeds"])
    found = judge_by_detection(
        wanted["methods"],
        made,
        tuple(whole),
        share=wanted["share"],
        kind=wanted["flip"],
        seeds=list(seeds),
    )
    rows = []
    for one in found.values():
        row: dict[str, Any] = {"method": one.title}
        for name, title in (
            ("auroc", "AUROC"),
            ("average_precision", "average precision"),
            ("found_at_10", "found at 10 %"),
            ("found_at_20", "found at 20 %"),
        ):
            row[title] = one.mean(name).value if one.runs else float("nan")
        half = one.mean("auroc") if one.runs else None
        row["AUROC from"] = float("nan") if half is None else half.low
        row["AUROC to"] = float("nan") if half is None else half.high
        rows.append(row)
    return JudgedTable(
        f"Wrong labels, {wanted['share']:.0%} of {retraining.count:,} ({wanted['flip']}), found "
        f"by self-influence; means over {wanted['seeds']} runs",
        rows,
        ["Found at 10 %: the share of the wrong labels among the first tenth of the ranking."]
        + [f"{one.title} failed: {one.failure}" for one in found.values() if one.failure],
    )


def _by_removal(given: AttributionFile, wanted: dict[str, Any]) -> JudgedTable:
    picked = _picked(given, wanted)
    retraining = retraining_of(given)
    run = trained_run_of(given, seed=wanted["seed"])
    scores: dict[str, Any] = {
        method.title: scores_of(method, run, given.inputs(picked))
        for method in wanted["methods"].values()
        if method.has_scores
    }
    scores.update(_files(given, picked, wanted["files"], retraining.count))
    curve = removal_curve(
        retraining,
        picked.batch,
        scores,
        removed=wanted["removed"],
        seeds=list(range(wanted["seed"], wanted["seed"] + wanted["seeds"])),
    )
    rows = []
    for name in curve.rise:
        row: dict[str, Any] = {"removed by": name}
        for place, number in enumerate(curve.removed):
            row[f"rise, {number}"] = curve.rise[name][place]
        for place, number in enumerate(curve.removed):
            if curve.flipped is not None:
                row[f"flipped, {number}"] = curve.flipped[name][place]
        rows.append(row)
    return JudgedTable(
        f"Without each query's strongest proponents, over {picked.count} queries and "
        f"{wanted['seeds']} seeds",
        rows,
        [
            "Rise: of the query's loss after training without so many examples, in runs otherwise "
            "the same. Flipped: the share of right predictions that are wrong then."
        ],
    )


def _picked(given: AttributionFile, wanted: dict[str, Any]) -> Queries:
    count = given.queries.count
    return given.queries.picked([place for place in wanted["queries"].of(count) if place < count])


def _files(
    given: AttributionFile, picked: Queries, paths: dict[str, Path], count: int
) -> dict[str, torch.Tensor]:
    names = Names("training example", given.train_columns, count)
    ids = [names.id(place) for place in range(count)]
    return {
        name: read_scores(path, ids=ids, query_ids=picked.columns[ID])
        for name, path in paths.items()
    }
