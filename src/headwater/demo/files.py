"""The results as CSV files: one row per training example, one row per named influence."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.demo.ranking import ranking
from headwater.files import replacing

if TYPE_CHECKING:
    from headwater.demo.results import Results

SELF_INFLUENCE_COLUMNS = (
    "rank",
    "index",
    "given_label",
    "true_label",
    "flipped",
    "self_influence",
    "training_loss",
)
EXPLANATION_COLUMNS = (
    "test_index",
    "test_true_label",
    "test_predicted_label",
    "side",
    "rank",
    "train_index",
    "train_given_label",
    "train_true_label",
    "train_flipped",
    "influence",
)


def write_self_influence(path: Path, results: Results) -> None:
    """Write the training set, most suspicious example first, ranks counted from 1.

    `training_loss` is the mean over the checkpoints; `flipped` is 1 for a wrong label.
    """
    data = results.data
    _write(
        path,
        SELF_INFLUENCE_COLUMNS,
        (
            (
                rank,
                index,
                results.class_names[int(data.given_labels[index])],
                results.class_names[int(data.true_labels[index])],
                int(data.flipped[index]),
                f"{results.self_influence[index].item():.6g}",
                f"{results.mean_loss[index].item():.6g}",
            )
            for rank, index in enumerate(ranking(results.self_influence).tolist(), start=1)
        ),
    )


def write_explanations(path: Path, results: Results) -> None:
    """Write every proponent and opponent of every explained test image, ranks counted from 1."""
    data, names = results.data, results.class_names
    _write(
        path,
        EXPLANATION_COLUMNS,
        (
            (
                explanation.query,
                names[explanation.true_label],
                names[explanation.predicted_label],
                side,
                rank,
                influence.index,
                names[int(data.given_labels[influence.index])],
                names[int(data.true_labels[influence.index])],
                int(data.flipped[influence.index]),
                f"{influence.score:.6g}",
            )
            for explanation in results.explanations
            for side, influences in (
                ("proponent", explanation.proponents),
                ("opponent", explanation.opponents),
            )
            for rank, influence in enumerate(influences, start=1)
        ),
    )


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
