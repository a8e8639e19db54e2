"""The methods that can be judged, by name. A new one is a line here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headwater.errors import InputError
from headwater.estimators import TracInCP, TracInCPFast
from headwater.evaluation.baselines import RandomScores, TrainingLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from headwater.estimators import DataInfluence
    from headwater.evaluation.trained_run import TrainedRun


@dataclass(frozen=True)
class Method:
    """A method that can be judged.

    Attributes:
        title: as tables have it.
        make: from the training run to an estimator, whose `influence(inputs, targets)` are scores
            (Q, N), and whose `influence()` is self-influence (N,).
        has_scores: whether it has scores by query; without, it only ranks the training set.
        has_self_influence: whether it ranks the training set.
        settings: other ways to make it, by what is set, such as its damping: of these and `make`
            the results page takes what is best on a bank for tuning.
    """

    title: str
    make: Callable[[TrainedRun], DataInfluence]
    has_scores: bool = True
    has_self_influence: bool = True
    settings: Mapping[str, Callable[[TrainedRun], DataInfluence]] = field(default_factory=dict)


METHODS: dict[str, Method] = {
    "tracin": Method("TracIn", lambda run: TracInCP(**run.of_all_layers())),
    "tracin-last": Method(
        "TracIn, trained model only", lambda run: TracInCP(**run.of_the_trained_model())
    ),
    "tracin-fast": Method(
        "TracIn, last layer",
        lambda run: TracInCPFast(final_fc_layer=run.last_linear, **run.arguments()),
    ),
    "training-loss": Method(
        "training loss", lambda run: TrainingLoss(run, averaged=False), has_scores=False
    ),
    "training-loss-mean": Method(
        "training loss, mean over checkpoints",
        lambda run: TrainingLoss(run, averaged=True),
        has_scores=False,
    ),
    "random": Method("random", RandomScores),
}


def methods_named(names: Iterable[str]) -> dict[str, Method]:
    """The methods of these names, in this order.

    Raises:
        InputError: there is no such method.
    """
    chosen = list(names)
    unknown = next((name for name in chosen if name not in METHODS), None)
    if unknown is not None:
        raise InputError(f"there is no method {unknown!r}; expected some of {', '.join(METHODS)}")
    return {name: METHODS[name] for name in chosen}
