"""`headwater report`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli import options
from headwater.cli.attribution import AttributionFile
from headwater.cli.attribution.location import shown_path
from headwater.cli.launched import is_first
from headwater.cli.places import Places, parsed_places
from headwater.errors import AttributionFileError
from headwater.report import Report, verify_report
from headwater.report.options import Options
from headwater.report.provenance import citation

if TYPE_CHECKING:
    from collections.abc import Sequence

# Queries that are asked about where nobody says which.
_QUERIES = 200
_SETTINGS = sorted(inspect.signature(Options).parameters)


def _places(ctx: click.Context, param: click.Parameter, value: str | None) -> Places | None:
    return None if value is None else parsed_places(ctx, param, value)


@click.command(short_help="Make a page of suspects, and of what is behind predictions.")
@click.argument(
    "attribution", metavar="[ATTRIBUTION.PY]", type=click.Path(path_type=Path), required=False
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report"),
    show_default=True,
    metavar="PATH",
    help="A folder, for its index.html, or a file that ends in .html.",
)
@click.option(
    "--queries",
    callback=_places,
    metavar="PLACES",
    help="Which examples of query_dataset(), as 0:20, or 3,17,40:50, or all; without it, up to "
    f"{_QUERIES} at even distances.",
)
@click.option("--title", metavar="TEXT", help="The page's title.")
@click.option(
    "--kind",
    type=click.Choice(["images", "text", "rows"]),
    help="What examples are; without it, it is found out.",
)
@click.option("--truth", metavar="COLUMN", help="The column of train_columns() with true labels.")
@click.option("--source", metavar="COLUMN", help="The column by which shares are told.")
@click.option(
    "--k", type=click.IntRange(min=1), metavar="N", help="Proponents and opponents on each side: 8."
)
@click.option(
    "--explained", type=click.IntRange(min=0), metavar="N", help="Queries that are explained: 12."
)
@click.option(
    "--traced",
    type=click.IntRange(min=0),
    metavar="N",
    help="Suspects whose proponents and opponents are computed: 300.",
)
@click.option(
    "--max-examples",
    type=click.IntRange(min=1),
    metavar="N",
    help="Training examples on the page, the first in the ranking: 5000.",
)
@click.option(
    "--verify",
    type=click.Path(path_type=Path, exists=True),
    metavar="REPORT",
    help="Make nothing; say whether a report is as it was written, and of the run of "
    "ATTRIBUTION.PY, if that is named.",
)
@options.progress
def report(
    attribution: Path | None,
    out: Path,
    queries: Places | None,
    progress: bool,
    verify: Path | None,
    **chosen: Any,
) -> None:
    """Make a page of suspects, and of what is behind predictions.

    One HTML file, which opens from disk and needs no network: the training
    set in the order in which its labels should be looked at, with decisions
    that can be exported; some predictions and the training examples behind
    them; figures of the whole run, and the record that it is cited by.

    \b
      headwater report attribution.py -o report/
      headwater report attribution.py -o page.html --kind images --queries 0:50
      headwater report --verify report/
      headwater report attribution.py --verify report/

    Needs pip install 'headwater[report]'. What the options say can stand in
    the file too, with class names and a tokenizer's decode:
    report_options = {"kind": "images", "class_names": ["cat", "dog"]}
    """
    if verify is not None:
        estimator = None if attribution is None else AttributionFile(attribution).estimator()
        record = verify_report(verify, estimator)
        compared = "" if estimator is None else f", and of the run of {attribution}"
        click.echo(f"{verify} is as it was written{compared}.\n{citation(record)}")
        return
    if attribution is None:
        raise click.UsageError("name the attribution file, or a report with --verify")
    given = AttributionFile(attribution)
    settings = {**_in_file(given), **{k: v for k, v in chosen.items() if v is not None}}
    count = given.queries.count
    places = _spread(count, _QUERIES) if queries is None else queries.of(count)
    picked = given.queries.picked(places)
    made = Report(
        given.estimator(),
        **given.inputs(picked),
        examples=given.train_columns,
        queries=picked.columns,
        show_progress=progress,
        **settings,
    )
    if not is_first():
        made.html()
        return
    file = made.write(out)
    click.echo(
        f"{file} ({file.stat().st_size / 1e6:.1f} MB): open it in a browser\n{made.citation}"
    )


def _in_file(given: AttributionFile) -> dict[str, Any]:
    settings = given.setting("report_options", None)
    if settings is None:
        return {}
    place = f"`report_options` of {shown_path(given.path)}"
    if not isinstance(settings, dict):
        raise AttributionFileError(f"{place} is a {type(settings).__name__}; expected a dict")
    unknown = next((name for name in settings if name not in _SETTINGS), None)
    if unknown is not None:
        raise AttributionFileError(
            f"{place} has an entry {unknown!r}; expected some of {', '.join(_SETTINGS)}"
        )
    return dict(settings)


def _spread(count: int, size: int) -> Sequence[int]:
    if count <= size:
        return range(count)
    return sorted({i * (count - 1) // (size - 1) for i in range(size)})
