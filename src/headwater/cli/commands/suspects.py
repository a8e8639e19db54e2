"""`headwater suspects`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headwater.cleaning import Suspects, suspects_of
from headwater.cli import options
from headwater.cli.answers import show_json
from headwater.cli.attribution import AttributionFile
from headwater.cli.decisions_file import parsed_decisions
from headwater.cli.launched import is_first
from headwater.cli.notices import say
from headwater.cli.output_file import refuse_unwritable
from headwater.cli.text import aligned, counted, wrapped

_ROWS_SHOWN = 20
# What a screen has room for; files have all.
_SHOWN = ("suspicion", "given_label", "suggested_label", "support", "confidence", "twin")


@click.command(short_help="Rank the training set by several signs of a wrong label.")
@options.attribution_file
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    default=_ROWS_SHOWN,
    show_default=True,
    help="How many training examples to name.",
)
@click.option("--all", "everything", is_flag=True, help="Write every example to --out.")
@click.option(
    "--checkpoints",
    type=click.IntRange(min=1),
    metavar="N",
    default=8,
    show_default=True,
    help="At how many checkpoints to look at the most; which is chosen.",
)
@click.option(
    "--decisions",
    type=click.Path(path_type=Path),
    callback=parsed_decisions,
    metavar="FILE",
    help="Write suggested decisions, to be looked through: .json or .csv, for `headwater apply`.",
)
@options.out
@options.as_json
@options.progress
def suspects(
    attribution: Path,
    top: int,
    everything: bool,
    checkpoints: int,
    decisions: Path | None,
    out: Path | None,
    as_json: bool,
    progress: bool,
) -> None:
    """Rank a classifier's training set by several signs of a wrong label.

    Self-influence, training loss and margin where the model has learnt and
    not yet memorised, the labels of near examples, and a linear classifier
    that hasn't seen the example are made into one ranking, with a suggested
    label. Look at the first ones, and decide.

    \b
      headwater suspects attribution.py --top 50 --out suspects.csv
      headwater suspects attribution.py --decisions suggested.json
      headwater apply suggested.json attribution.py --out cleaned.csv
    """
    if everything and out is None:
        raise click.UsageError("--all writes every example to a file; name it with --out")
    refuse_unwritable(out)
    refuse_unwritable(decisions, option="--decisions")
    given = AttributionFile(attribution)
    found = suspects_of(
        given.estimator(),
        n_checkpoints=checkpoints,
        examples=given.train_columns,
        show_progress=progress,
    )
    rows = len(found) if everything else min(top, len(found))
    if out is not None and is_first():
        write = found.to_csv if out.suffix == ".csv" else found.to_parquet
        write(out, top=rows)
    suggested = found.suggested_decisions()
    if decisions is not None and is_first():
        suggested.write(decisions)
    if as_json:
        show_json(_facts(found, top))
    else:
        _show(found, top, out)
    if out is not None:
        say(f"Wrote {counted(rows, 'row')} to {out}")
    if decisions is not None:
        say(f"Wrote {counted(len(suggested), 'suggested decision')} to {decisions}")


def _facts(found: Suspects, top: int) -> dict[str, Any]:
    table = {name: list(column) for name, column in found.table(found.ranking[:top]).items()}
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    return {
        "examples": len(found),
        "estimated_wrong": found.estimated_wrong,
        "checkpoints": list(found.checkpoints),
        "reason": found.reason,
        "notes": list(found.notes),
        "data": found.data,
        "rows": [{name: _plain(value) for name, value in row.items()} for row in rows],
    }


def _plain(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return None if plain != plain else plain


def _show(found: Suspects, top: int, out: Path | None) -> None:
    table = found.table(found.ranking[: min(top, _ROWS_SHOWN)])
    ids = "id" if found.examples.has_ids else "index"
    # The user's own column of labels says the same as the given ones, mostly.
    given = [str(label) for label in table["given_label"]]
    others = [name for name in found.examples.others if [str(x) for x in table[name]] != given]
    names = [ids, *others, *_SHOWN]
    click.echo(wrapped(f"{counted(len(found), 'training example')}; {found.reason}"))
    click.echo("\n" + aligned({name: [_number(x) for x in table[name]] for name in names}))
    more = min(top, len(found)) - _ROWS_SHOWN
    if more > 0:
        where = f"in {out}" if out is not None else "with --out FILE or --json"
        click.echo(f"\n  ... {counted(more, 'more row')} {where}")
    click.echo(
        "\n"
        + wrapped(
            f"About {found.estimated_wrong:,} labels look wrong: the model, near examples and a "
            f"classifier that hasn't seen them agree on another one. Suspicion is a mean of ranks, "
            f"0 to 1; support says how likely the suggested label is by all signs together, and "
            f"confidence how likely the model finds the given one; twin is a near-duplicate under "
            f"another label."
        )
    )
    for note in found.notes:
        click.echo(wrapped(f"{note[0].upper()}{note[1:]}."))


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
