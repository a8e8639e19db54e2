"""The results in a few lines of text, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.demo.results import Results

SHARES_CHECKED = (0.1, 0.2)


def summary(results: Results) -> str:
    """Return what was found, as a table and a sentence."""
    n_train, n_test = len(results.data.given_labels), len(results.data.test_labels)
    n_flipped = int(results.data.flipped.sum())
    width = max(len(detection.name) for detection in results.detections)
    header = "".join(f"{f'first {share:.0%}':>16}" for share in SHARES_CHECKED)
    lines = [
        f"{n_flipped} of {n_train:,} training labels were flipped. Found by checking the",
        "top of a list ranked by ...",
        "",
        f"  {'':{width}}{header}",
    ]
    for detection in results.detections:
        cells = "".join(
            f"{detection.found_at(share):>8.0f}{detection.recall_at(share):>8.1%}"
            for share in SHARES_CHECKED
        )
        lines.append(f"  {detection.name:{width}}{cells}")
    lines += [
        "",
        f"Test accuracy {results.accuracy:.1%} ({results.n_misclassified} of {n_test} wrong); "
        f"{len(results.explanations)} test images explained.",
    ]
    return "\n".join(lines)
