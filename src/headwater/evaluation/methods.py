"""The methods that can be judged, by name. A new one is a line here."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from headwater.curvature import ASTRA, EKFAC, KFAC, Exact, GaussNewtonCG, RelativeDamping
from headwater.errors import InputError
from headwater.estimators import (
    LESS,
    SOURCE,
    TRAK,
    ExactUnrolling,
    GradCos,
    GradDot,
    InfluenceFunction,
    LoGra,
    RandomScores,
    RepresentationSimilarity,
    TracInAdam,
    TracInCP,
    TracInCPFast,
    TracInIdeal,
    TrainingLoss,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from headwater.estimators import DataInfluence
    from headwater.evaluation.trained_run import TrainedRun

_COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Method:
    """A method that can be judged.

    Attributes:
        title: as tables have it.
        make: from the training run to an estimator, whose `influence(inputs, targets)` are scores
            (Q, N), and whose `influence()` is self-influence (N,).
        has_scores: whether it has scores by query; without, it only ranks the training set.
        has_self_influence: whether it ranks the training set.
        has_several_models: whether it averages over the trained models of all runs that there are.
        has_checkpoints: whether it reads what training left behind.
        settings: other ways to make it, by what is set, such as its damping: of these and `make`
            the results page takes what is best on a bank for tuning.
    """

    title: str
    make: Callable[[TrainedRun], DataInfluence]
    has_scores: bool = True
    has_self_influence: bool = True
    has_several_models: bool = False
    has_checkpoints: bool = True
    settings: Mapping[str, Callable[[TrainedRun], DataInfluence]] = field(default_factory=dict)

    def title_of(self, run: TrainedRun) -> str:
        """The title, with how many models it averages over where it averages over models."""
        if not self.has_several_models:
            return self.title
        models = 1 + len(run.others)
        count = _COUNTS[models - 1] if models <= len(_COUNTS) else str(models)
        return f"{self.title}, {count} {'model' if models == 1 else 'models'}"


def _by_damping(make: Callable[[TrainedRun, RelativeDamping], DataInfluence]) -> dict[str, Any]:
    """`make`, and settings of it: shares of the mean eigenvalue around the usual one."""
    shares = (0.001, 0.01, 1.0)
    return {
        "make": partial(_damped, make, 0.1),
        "settings": {f"damping {share:g}": partial(_damped, make, share) for share in shares},
    }


def _damped(
    make: Callable[[TrainedRun, RelativeDamping], DataInfluence], share: float, run: TrainedRun
) -> DataInfluence:
    return make(run, RelativeDamping(share))


def _conjugate(steps: int, share: float, run: TrainedRun) -> DataInfluence:
    # A few steps leave out the directions of little curvature, as damping does, and on a network
    # they are what there is time for; ranks of scores don't change with the last digits.
    curvature = GaussNewtonCG(damping=RelativeDamping(share), tolerance=1e-2, max_steps=steps)
    return InfluenceFunction(curvature=curvature, **run.without_series())


def _astra(steps: int, batch_size: int, run: TrainedRun) -> DataInfluence:
    curvature = ASTRA(
        EKFAC(likelihood=run.likelihood, seed=run.seed),
        steps=steps,
        batch_size=batch_size,
        seed=run.seed,
    )
    return InfluenceFunction(curvature=curvature, **run.without_series())


def _source(segments: int, curvature: type[KFAC | EKFAC], run: TrainedRun) -> DataInfluence:
    return SOURCE(
        segments=segments,
        curvature=curvature(likelihood=run.likelihood, seed=run.seed),
        **run.of_all_layers(),
    )


def _ways_of_source() -> dict[str, Callable[[TrainedRun], DataInfluence]]:
    """By the number of segments, and by K-FAC in place of EK-FAC, which takes half as long."""
    return {
        **{f"segments {count}": partial(_source, count, EKFAC) for count in (1, 2, 5)},
        **{f"K-FAC, segments {count}": partial(_source, count, KFAC) for count in (1, 3)},
    }


METHODS: dict[str, Method] = {
    "tracin": Method("TracIn", lambda run: TracInCP(**run.of_all_layers())),
    "tracin-last": Method(
        "TracIn, trained model only", lambda run: TracInCP(**run.of_the_trained_model())
    ),
    "tracin-fast": Method(
        "TracIn, last layer",
        lambda run: TracInCPFast(final_fc_layer=run.last_linear, **run.arguments()),
    ),
    "tracin-adam": Method(
        "TracIn, through Adam's step", lambda run: TracInAdam(**run.of_all_layers())
    ),
    "less": Method(
        "LESS", lambda run: LESS(seed=run.seed, **run.of_all_layers()), has_self_influence=False
    ),
    "grad-dot": Method("GradDot", lambda run: GradDot(**run.of_the_trained_model())),
    "grad-cos": Method(
        "GradCos", lambda run: GradCos(**run.of_the_trained_model()), has_self_influence=False
    ),
    "influence-exact": Method(
        "influence function, dense",
        **_by_damping(
            lambda run, damping: InfluenceFunction(
                curvature=Exact(damping=damping), **run.without_series()
            )
        ),
    ),
    "influence-cg": Method(
        "influence function, CG",
        partial(_conjugate, 10, 0.1),
        settings={
            "damping 0.01": partial(_conjugate, 10, 0.01),
            "damping 1": partial(_conjugate, 10, 1.0),
            "100 steps": partial(_conjugate, 100, 0.1),
            "100 steps, damping 1": partial(_conjugate, 100, 1.0),
        },
    ),
    "kfac": Method(
        "K-FAC",
        **_by_damping(
            lambda run, damping: InfluenceFunction(
                curvature=KFAC(damping=damping, likelihood=run.likelihood, seed=run.seed),
                **run.without_series(),
            )
        ),
    ),
    "ekfac": Method(
        "EK-FAC",
        **_by_damping(
            lambda run, damping: InfluenceFunction(
                curvature=EKFAC(damping=damping, likelihood=run.likelihood, seed=run.seed),
                **run.without_series(),
            )
        ),
    ),
    "astra": Method(
        "EK-FAC with ASTRA",
        partial(_astra, 100, 256),
        settings={"25 steps of 128": partial(_astra, 25, 128)},
    ),
    "source": Method(
        "SOURCE",
        partial(_source, 3, EKFAC),
        settings=_ways_of_source(),
    ),
    "unrolling": Method(
        "exact unrolling",
        lambda run: ExactUnrolling(run.replayed()),
    ),
    "tracin-ideal": Method("TracIn at every update", lambda run: TracInIdeal(run.replayed())),
    "trak": Method(
        "TRAK",
        lambda run: TRAK(seed=run.seed, **run.of_several_models()),
        has_several_models=True,
    ),
    "logra": Method("LoGra", lambda run: LoGra(seed=run.seed, **run.of_the_trained_model())),
    "representation": Method(
        "cosine of the last hidden layer",
        lambda run: RepresentationSimilarity(**run.of_forward_passes(checkpoints=run.last)),
        has_self_influence=False,
    ),
    "training-loss": Method(
        "training loss",
        lambda run: TrainingLoss(**run.of_forward_passes(checkpoints=run.last)),
        has_scores=False,
    ),
    "training-loss-mean": Method(
        "training loss, mean over checkpoints",
        lambda run: TrainingLoss(**run.of_forward_passes()),
        has_scores=False,
    ),
    "random": Method(
        "random",
        lambda run: RandomScores(run.train_dataset, seed=run.seed),
        has_checkpoints=False,
    ),
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
