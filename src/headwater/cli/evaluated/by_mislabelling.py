"""`headwater evaluate --measure mislabel`."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from headwater.cli.attribution.retrained import recipe_retraining_of
from headwater.cli.evaluated.failures import failures_said
from headwater.cli.evaluated.fitting import fitting_methods
from headwater.cli.judged_table import JudgedTable
from headwater.errors import InputError
from headwater.evaluation import RecipeRetraining, judge_by_detection

if TYPE_CHECKING:
    from headwater.cli.attribution import AttributionFile
    from headwater.evaluation import JudgedByDetection

_MEASURES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "found_at_10": "found at 10 %",
    "found_at_20": "found at 20 %",
}


def by_mislabelling(given: AttributionFile, wanted: dict[str, Any]) -> JudgedTable:
    """Methods judged by whether self-influence ranks labels first that were made wrong."""
    methods, left_out = fitting_methods(wanted["methods"], "mislabel")
    retraining = recipe_retraining_of(given)
    whole = retraining.data.whole
    if not isinstance(whole, (tuple, list)):
        raise InputError("wrong labels need training examples (inputs..., label)")
    found = judge_by_detection(
        methods,
        partial(
            RecipeRetraining,
            retraining._model,
            recipe=retraining.recipe,
            loss_fn=given.loss_fn,
            task=given.task,
            at_once=1,
        ),
        tuple(whole),
        share=wanted["share"],
        kind=wanted["flip"],
        seeds=list(range(wanted["seed"], wanted["seed"] + wanted["seeds"])),
    )
    failures = {one.title: one.failure for one in found.values() if one.failure}
    failed = failures_said(failures, judged=sum(bool(found[name].runs) for name in methods))
    rows, baseline = [], []
    for name, one in found.items():
        title = one.title
        if name not in methods:
            title = f"{title} (baseline)"
            baseline = [
                "The baseline is the trained model's own margin, lowest first: no method is needed "
                "for it."
            ]
        rows.append(_row(title, one))
    return JudgedTable(
        f"Wrong labels, {wanted['share']:.0%} of {retraining.count:,} ({wanted['flip']}), found "
        f"by self-influence; means over {wanted['seeds']} runs",
        rows,
        [
            "Found at 10 %: the share of the wrong labels among the first tenth of the ranking.",
            *baseline,
            *left_out,
            *failed,
        ],
    )


def _row(title: str, one: JudgedByDetection) -> dict[str, Any]:
    means = {name: one.mean(name) for name in _MEASURES} if one.runs else {}
    row: dict[str, Any] = {"method": title}
    for name, column in _MEASURES.items():
        row[column] = means[name].value if means else math.nan
    row["AUROC from"] = means["auroc"].low if means else math.nan
    row["AUROC to"] = means["auroc"].high if means else math.nan
    return row
