"""`headwater evaluate --measure removal`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.cli.attribution.retrained import (
    refuse_missing_checkpoints,
    retraining_of,
    trained_run_of,
)
from headwater.cli.evaluated.failures import failures_said
from headwater.cli.evaluated.fitting import fitting_methods
from headwater.cli.evaluated.picked import batch_of, picked_queries, scores_in_files
from headwater.cli.judged_table import JudgedTable
from headwater.errors import HeadwaterError
from headwater.evaluation import removal_curve
from headwater.evaluation.judging import scores_of

if TYPE_CHECKING:
    from headwater.cli.attribution import AttributionFile


def by_removal(given: AttributionFile, wanted: dict[str, Any]) -> JudgedTable:
    """Methods judged by what training does without a query's strongest proponents."""
    methods, left_out = fitting_methods(wanted["methods"], "removal", alone=not wanted["files"])
    picked = picked_queries(given, wanted["queries"])
    refuse_missing_checkpoints(given, methods)
    retraining = retraining_of(given)
    files = scores_in_files(given, picked, wanted["files"], retraining.count)
    run = trained_run_of(given, seed=wanted["seed"])
    scores: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for method in methods.values():
        title = method.title_of(run)
        try:
            scores[title] = scores_of(method, run, given.inputs(picked))
        except HeadwaterError as error:
            failures[title] = str(error)
    scores.update(files)
    failed = failures_said(failures, judged=len(scores))
    curve = removal_curve(
        retraining,
        batch_of(picked),
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
            "the same. Flipped: the share of right predictions that are wrong then. Random removal "
            "is the baseline.",
            *left_out,
            *failed,
        ],
    )
