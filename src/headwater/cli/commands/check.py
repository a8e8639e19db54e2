"""`headwater check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from torch import distributed as dist

from headwater.check import exactness, layers_of
from headwater.check.comparison import parts_of
from headwater.cli import options
from headwater.cli.answers import show_json
from headwater.cli.attribution import AttributionFile
from headwater.cli.attribution.location import in_users_words
from headwater.cli.exit_codes import FOUND_WRONG
from headwater.cli.launched import launched, of_one_process
from headwater.cli.predictions import predictions
from headwater.cli.report_of_check import ReportOfCheck
from headwater.cli.sample import count_of, spread
from headwater.cli.text import wrapped
from headwater.distributed import is_sharded, sharing_ranks
from headwater.errors import CaptureError, InputError, LossError, ModelError, NonFiniteError

if TYPE_CHECKING:
    from pathlib import Path

_TRAINING, _QUERIES = 4, 2
# Whose gradients are looked at: enough for a rule to show that it doesn't fit.
_LOOKED_AT = 16


@click.command(short_help="Is it exact here? Where is it slow? What will it cost?")
@options.attribution_file
@options.queries("0:20")
@click.option("--no-cost", is_flag=True, help="Leave out the prediction of time and memory.")
@options.as_json
def check(attribution: Path, **wanted: Any) -> None:
    """Is it exact for this model, where is it slow, and what will it cost?

    Before anything long is started: scores of a few examples are held against
    a plain loop of autograd in float64, which shares no code with what it
    checks. Layers without a rule of their own are named: they are equally
    right, and slower. It says how the work is divided within memory_budget.
    Time and memory are measured on a few batches.

    Exit code 1 if scores aren't exact.

    \b
      headwater check attribution.py
      headwater check attribution.py --queries 0:200 --json
    """
    given = AttributionFile(attribution)
    if launched() is None or is_sharded(given.model):
        _check(given, **wanted)
    else:
        _by_one_process(attribution, **wanted)


@of_one_process
def _by_one_process(attribution: Path, **wanted: Any) -> None:
    """Of processes that each have a whole model."""
    # Once more, for the file to find itself in a process by itself.
    if dist.is_initialized():
        dist.destroy_process_group()
    _check(AttributionFile(attribution), **wanted)


def _check(
    given: AttributionFile, queries: options.Places, *, no_cost: bool, as_json: bool
) -> None:
    # Of a projection, what it projects is checked.
    estimator = given.estimator(projection=None)
    count = count_of(estimator)
    if estimator._series.count is None:
        raise InputError("`checkpoints` is a generator, and is needed several times; give a list")
    places = [place for place in queries.of(given.queries.count) if place < given.queries.count]
    singles = [given.queries.picked([place]) for place in places[:_QUERIES]]
    questions = [estimator._question(**given.inputs(one)) for one in singles]
    few = estimator._question(**given.inputs(given.queries.picked(places[:_QUERIES])))
    all_asked = estimator._question(**given.inputs(given.queries.picked(places)))
    training = spread(estimator, _TRAINING)
    try:
        found = exactness(estimator, training, few, [one.batch for one in questions])
    except (CaptureError, LossError, ModelError, NonFiniteError) as error:
        _show_refusal(error, as_json=as_json)
        raise click.exceptions.Exit(FOUND_WRONG) from error
    projection = given.setting("projection")
    ranks = sharing_ranks(given.model)
    report = ReportOfCheck(
        examples=count,
        queries=len(places),
        checkpoints=estimator._series.count,
        exactness=found,
        layers=layers_of(estimator, spread(estimator, _LOOKED_AT)),
        predictions=None if no_cost else predictions(estimator, all_asked, count),
        projection=None if projection is None else repr(projection),
        ranks=1 if ranks is None else ranks.size,
        plan=parts_of(estimator).plan(all_asked),
    )
    if as_json:
        show_json(report.as_dict())
    else:
        report.show()
    if not found.exact:
        raise click.exceptions.Exit(FOUND_WRONG)


def _show_refusal(error: Exception, *, as_json: bool) -> None:
    """Says that there are no scores to be exact, and why."""
    why = in_users_words(error)
    if as_json:
        show_json({"exact": False, "refused": why})
        return
    click.echo("Is it exact?  NO: there are no scores of single examples.")
    for paragraph in why.splitlines():
        click.echo(wrapped(paragraph, indent=2))
