"""The label that an example's opponents speak for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

# More opponents than are shown take part: the strongest few are often wrong labels themselves.
VOTERS = 50


@dataclass(frozen=True)
class Traced:
    """An example's strongest proponents and opponents among the others, (place, score) each."""

    proponents: list[tuple[int, float]]
    opponents: list[tuple[int, float]]


@dataclass(frozen=True)
class Vote:
    """What the opponents say.

    Attributes:
        label: the class with the most weight.
        share: its share of all weight, 0 to 1.
    """

    label: int
    share: float


def vote(traced: Traced, labels: Sequence[int]) -> Vote | None:
    """The class for which the opponents have the most weight; None where there are none.

    An opponent made the given label less likely, and speaks for its own with the size of its score:
    if the given label is wrong, this is likely to be the right one. Proponents have no vote, since
    they have the given label themselves, whether it is right or wrong.

    Args:
        traced: the example's.
        labels: of all training examples.
    """
    weights: dict[int, float] = defaultdict(float)
    for place, score in traced.opponents:
        weights[labels[place]] += max(0.0, -score)
    total = sum(weights.values())
    if not total:
        return None
    label = max(weights, key=lambda one: (weights[one], -one))
    return Vote(label, weights[label] / total)
