"""`headwater evaluate --measure lds`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from headwater.cli.attribution.retrained import (
    refuse_missing_checkpoints,
    retraining_of,
    trained_run_of,
)
from headwater.cli.evaluated.failures import failures_said, say_what_cannot_begin
from headwater.cli.evaluated.fitting import fitting_methods
from headwater.cli.evaluated.kept_bank import kept_bank, what_is_left
from headwater.cli.evaluated.picked import batch_of, picked_queries, scores_in_files
from headwater.cli.interrupted import advising
from headwater.cli.judged_table import JudgedTable
from headwater.evaluation import Subsets, judge_by_lds

if TYPE_CHECKING:
    from headwater.cli.attribution import AttributionFile

BANK = "evaluation-bank"
"""The folder of the bank, beside the user's file."""


def by_lds(given: AttributionFile, wanted: dict[str, Any]) -> JudgedTable:
    """Methods judged by what models that were trained on subsets say of the queries."""
    methods, left_out = fitting_methods(wanted["methods"], "lds", alone=not wanted["files"])
    picked = picked_queries(given, wanted["queries"])
    refuse_missing_checkpoints(given, methods)
    run = trained_run_of(given, seed=wanted["seed"])
    say_what_cannot_begin(methods, run, others=len(wanted["files"]))
    folder = wanted["bank"] or given.path.resolve().parent / BANK
    with advising(lambda: what_is_left(folder)):
        retraining = retraining_of(given)
        files = scores_in_files(given, picked, wanted["files"], retraining.count)
        bank = kept_bank(
            folder,
            retraining,
            Subsets(
                wanted["subsets"], wanted["fraction"], wanted["runs"], wanted["seed"], "report"
            ),
            batch_of(picked),
            attribution=given.path,
            show_progress=wanted["progress"],
        )
        found = judge_by_lds(
            methods,
            run,
            bank,
            given.inputs(picked),
            given=files,
            quantity=wanted["quantity"],
        )
    scores = [one.lds for one in found.values() if one.lds is not None]
    failures = {one.title: one.failure for one in found.values() if one.failure}
    failed = failures_said(failures, judged=len(scores))
    rows = [
        {
            "method": one.title,
            "LDS": math.nan if one.lds is None else one.lds.value,
            "from": math.nan if one.lds is None else one.lds.low,
            "to": math.nan if one.lds is None else one.lds.high,
            "seconds": one.seconds,
        }
        for one in found.values()
    ]
    subsets, ceiling = bank.subsets, scores[0].ceiling
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
            *left_out,
            *failed,
        ],
    )
