"""`headwater apply`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cleaning import Cleaned, Decisions, Retrained, all_labels, retrain
from headwater.cleaning import apply as applied
from headwater.cli import options
from headwater.cli.answers import show_json
from headwater.cli.attribution import AttributionFile
from headwater.cli.decisions_file import parsed_decisions
from headwater.cli.launched import of_one_process
from headwater.cli.notices import say
from headwater.cli.output_file import refuse_unwritable
from headwater.cli.text import counted
from headwater.engine import TrainingData
from headwater.errors import InputError
from headwater.results.names import ID, Names

if TYPE_CHECKING:
    from torch import Tensor


@click.command(short_help="Make the cleaned training set's index out of decisions.")
@click.argument(
    "decisions", metavar="DECISIONS", type=click.Path(path_type=Path), callback=parsed_decisions
)
@click.argument(
    "attribution", metavar="[ATTRIBUTION.PY]", required=False, type=click.Path(path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the index of the cleaned set as CSV: index,id,label,given_label.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many training examples there are, where no file says it.",
)
@click.option(
    "--new-labels", is_flag=True, help="Allow labels that no training example has so far."
)
@click.option(
    "--retrain",
    "retraining",
    is_flag=True,
    help="Train on both sets, and say what cleaning did to held-out accuracy.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="N",
    default=5,
    show_default=True,
    help="With how many seeds --retrain trains on each set.",
)
@options.as_json
@options.progress
@of_one_process
def apply(
    decisions: Path,
    attribution: Path | None,
    out: Path | None,
    count: int | None,
    new_labels: bool,
    retraining: bool,
    seeds: int,
    as_json: bool,
    progress: bool,
) -> None:
    """Make the cleaned training set's index out of decisions.

    DECISIONS is a .json or .csv file, from `headwater suspects`, a report, or
    your own hand. Examples without a decision are kept. With ATTRIBUTION.PY
    the decisions are held against the training data: its size, its ids, and
    16 of its examples. --retrain calls train(dataset, seed) in it, and needs
    held_out_dataset().

    \b
      headwater apply decisions.json attribution.py --out cleaned.csv
      headwater apply decisions.json attribution.py --retrain --seeds 5
      headwater apply decisions.csv --count 60000 --out cleaned.csv
    """
    if out is None and not retraining:
        raise click.UsageError("name the file to write with --out, or ask for --retrain")
    if attribution is None and retraining:
        raise click.UsageError("--retrain needs ATTRIBUTION.PY, which says how to train")
    if attribution is None and count is None:
        raise click.UsageError(
            "how many training examples there are isn't known; give ATTRIBUTION.PY, or --count"
        )
    if out is not None and out.suffix != ".csv":
        raise click.BadParameter(f"{str(out)!r} doesn't end in .csv", param_hint="--out")
    refuse_unwritable(out)
    read = Decisions.read(decisions)
    if attribution is None:
        cleaned, effect = applied(read, count=count, new_labels=new_labels), None
    else:
        given = AttributionFile(attribution)
        if retraining:
            # Before minutes of training: are they there?
            _ = given.train, given.held_out_dataset
        cleaned = _on_data(read, given, count, new_labels=new_labels)
        effect = _effect(given, cleaned, seeds, progress=progress) if retraining else None
    if out is not None:
        cleaned.to_csv(out)
    if as_json:
        show_json(_facts(cleaned, effect))
    else:
        click.echo(
            f"{counted(len(cleaned), 'example')} kept, {len(cleaned.relabelled):,} of them under "
            f"another label; {len(cleaned.dropped):,} dropped"
        )
        if effect is not None:
            click.echo(f"{effect}")
            if sum(effect.gains) <= 0:
                click.echo(
                    "Cleaning didn't help here. Suggested decisions are not facts: look at the "
                    "examples before you apply them."
                )
    if out is not None:
        say(f"Wrote {counted(len(cleaned), 'row')} to {out}")


def _on_data(
    decisions: Decisions, given: AttributionFile, count: int | None, *, new_labels: bool
) -> Cleaned:
    if decisions.data is None:
        say("Note: the decisions don't say which data they are about, so only places are compared")
    dataset = given.train_dataset
    ids = Names("training example", given.train_columns).columns.get(ID)
    return applied(
        decisions,
        dataset,
        count=count,
        labels=_labels(given, dataset),
        ids=ids,
        new_labels=new_labels,
    )


def _labels(given: AttributionFile, dataset: Any) -> Tensor | None:
    task = given.reading_task()
    data = TrainingData(dataset, "auto", lambda rows: task.collate(given.model, rows, None))
    try:
        return all_labels(task, data)
    except InputError as error:
        say(f"Note: given labels aren't known, and not written: {error}")
        return None


def _effect(given: AttributionFile, cleaned: Cleaned, seeds: int, *, progress: bool) -> Retrained:
    return retrain(
        given.train,
        given.train_dataset,
        cleaned.dataset(given.train_dataset),
        given.held_out_dataset,
        task=given.reading_task(),
        seeds=range(seeds),
        show_progress=progress,
    )


def _facts(cleaned: Cleaned, effect: Retrained | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "kept": len(cleaned),
        "relabelled": cleaned.relabelled,
        "dropped": cleaned.dropped,
    }
    if effect is not None:
        facts["held_out_accuracy"] = {
            "seeds": list(effect.seeds),
            "before": list(effect.before),
            "after": list(effect.after),
        }
    return facts
