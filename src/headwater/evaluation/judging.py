"""Methods judged side by side, on the same bank or the same wrong labels."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwater.errors import HeadwaterError, InputError
from headwater.evaluation.by_recipe import RecipeRetraining
from headwater.evaluation.interval import Interval
from headwater.evaluation.lds import LDS, linear_datamodeling_score
from headwater.evaluation.mislabelled import Detection, Kind, detection, flip_labels
from headwater.evaluation.reference import reference_run
from headwater.evaluation.run import Run
from headwater.evaluation.scores_given import TRANSPOSE, scores_matrix
from headwater.evaluation.tuning import refuse_tuning_bank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float

    from headwater.curvature.find_likelihood import LikelihoodName
    from headwater.evaluation.bank import RetrainedBank
    from headwater.evaluation.methods import Method
    from headwater.evaluation.trained_run import TrainedRun

_FOLDS = 5
_BY_NAME = {"inputs", "targets"}
# The value of Student's t beyond which 2.5 % lie, by degrees of freedom from 1.
_T = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class JudgedByLDS:
    """A method's linear datamodeling score, or why it has none.

    Attributes:
        title: the method's.
        lds: the score; None where the method failed.
        seconds: from its construction to its scores; NaN where it has none, or where they came from
            elsewhere.
        failure: the error's message; empty without one.
    """

    title: str
    lds: LDS | None
    seconds: float
    failure: str = ""


def judge_by_lds(
    methods: Mapping[str, Method],
    run: TrainedRun,
    bank: RetrainedBank,
    inputs: Any,
    *,
    given: Mapping[str, Any] | None = None,
    quantity: str = "loss",
) -> dict[str, JudgedByLDS]:
    """Each method's LDS.

    Args:
        methods: by name. Those without scores by query are left out.
        run: what they explain.
        bank: the retrained models; not one for tuning.
        inputs: the bank's queries: a batch, as `RetrainedBank.build` takes it; or a dict of what
            `influence` takes by name, `inputs` and `targets`.
        given: by name, further scores (Q, N), of other libraries.
        quantity: "loss", or "margin".

    Raises:
        InputError: the bank is for tuning, or measured other queries.
    """
    refuse_tuning_bank(bank)
    asked = _by_name(inputs, has_task=run.task is not None)
    bank.refuse_other_queries(_as_batch(asked))
    found: dict[str, JudgedByLDS] = {}
    for name, method in methods.items():
        if not method.has_scores:
            continue
        begun = time.perf_counter()
        try:
            scores = scores_of(method, run, asked)
            seconds = time.perf_counter() - begun
            lds = linear_datamodeling_score(scores, bank, quantity=quantity)
        except HeadwaterError as error:
            # Scores that aren't finite are a failure of the method, and not of the others.
            found[name] = JudgedByLDS(method.title_of(run), None, math.nan, str(error))
            continue
        found[name] = JudgedByLDS(method.title_of(run), lds, seconds)
    for name, scores in (given or {}).items():
        matrix = scores_matrix(scores, queries=bank.queries, examples=bank.count, swapped=TRANSPOSE)
        lds = linear_datamodeling_score(matrix, bank, quantity=quantity)
        found[name] = JudgedByLDS(name, lds, math.nan)
    return found


def _by_name(queries: Any, *, has_task: bool) -> dict[str, Any]:
    """Queries as `influence` takes them by name."""
    if isinstance(queries, Mapping) and "inputs" in queries and {*queries} <= _BY_NAME:
        return dict(queries)
    if has_task or not isinstance(queries, (tuple, list)):
        return {"inputs": queries}
    *inputs, targets = queries
    return {"inputs": tuple(inputs), "targets": targets}


def _as_batch(inputs: dict[str, Any]) -> Any:
    """The same as one batch, as a bank is given them."""
    batch, targets = inputs["inputs"], inputs.get("targets")
    if targets is None:
        return batch
    return (*(batch if isinstance(batch, (tuple, list)) else (batch,)), targets)


def scores_of(method: Method, run: TrainedRun, inputs: dict[str, Any]) -> Float[Tensor, "Q N"]:
    """All scores of a method."""
    scores = method.make(run).influence(**inputs)
    assert isinstance(scores, Tensor)
    return scores


@dataclass(frozen=True)
class JudgedByDetection:
    """How well a method finds wrong labels, over several runs with other wrong labels each.

    Attributes:
        title: the method's.
        runs: what was found in each.
        failure: the error's message; empty without one.
    """

    title: str
    runs: list[Detection]
    failure: str = ""

    def mean(self, measure: str) -> Interval:
        """The mean over the runs of a measure of `Detection`, with Student's interval.

        The interval ends where the measure does, at 0 and 1.
        """
        values = torch.tensor([getattr(one, measure) for one in self.runs], dtype=torch.float64)
        mean = float(values.mean())
        if len(values) < 2:
            return Interval(mean, float("nan"), float("nan"))
        t = _T[min(len(values) - 1, len(_T)) - 1]
        half = t * float(values.std()) / len(values) ** 0.5
        return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def judge_by_detection(
    methods: Mapping[str, Method],
    retraining: Callable[[Any], RecipeRetraining],
    examples: tuple[Any, ...],
    *,
    share: float = 0.1,
    kind: Kind = "uniform",
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    checkpoints: int = 10,
    likelihood: LikelihoodName | None = None,
) -> dict[str, JudgedByDetection]:
    """How well each method finds labels that were made wrong.

    Per seed some labels are flipped, a model is trained on all of them, and each method ranks the
    training set by self-influence. Beside the methods stands the margin of the trained model.

    Args:
        methods: by name. Those without self-influence are left out.
        retraining: from a batch of all training examples to how a model is trained on them.
        examples: all training examples as a batch of tensors, labels last.
        share: of the labels that are made wrong.
        kind: "uniform", or "runner-up", by models that were trained on the other folds of 5.
        seeds: of the flips and of the training.
        checkpoints: how many the methods are given.
        likelihood: as of `TrainedRun`.

    Raises:
        InputError: the last part of the examples isn't labels.
    """
    labels = examples[-1]
    if not isinstance(labels, Tensor) or labels.dim() != 1 or labels.dtype != torch.int64:
        raise InputError("wrong labels need training examples (inputs..., label), label from 0")
    classes = int(labels.max()) + 1
    chances = _held_out_chances(retraining(examples), classes) if kind == "runner-up" else None
    rankers = {name: method for name, method in methods.items() if method.has_self_influence}
    found: dict[str, list[Detection]] = {name: [] for name in [*rankers, "margin"]}
    failures: dict[str, str] = {}
    titles: dict[str, str] = {}
    for seed in seeds:
        noisy = flip_labels(
            labels, share=share, kind=kind, seed=seed, classes=classes, probabilities=chances
        )
        changed = retraining((*examples[:-1], noisy.labels))
        with reference_run(
            changed, seed=seed, checkpoints=checkpoints, likelihood=likelihood
        ) as run:
            titles = {name: method.title_of(run) for name, method in rankers.items()}
            for name, method in rankers.items():
                if name in failures:
                    continue
                try:
                    suspicion = method.make(run).influence()
                except HeadwaterError as error:
                    failures[name] = str(error)
                    continue
                found[name].append(detection(suspicion, noisy.flipped))
            margins = changed.measured(
                {key: value[None] for key, value in run.model.state_dict().items()}, changed.data
            ).get("margin")
            if margins is not None:
                found["margin"].append(detection(-margins[0], noisy.flipped))
    if not found["margin"]:
        del found["margin"]
    return {
        name: JudgedByDetection(titles.get(name, name), some, failures.get(name, ""))
        for name, some in found.items()
    }


def _held_out_chances(retraining: RecipeRetraining, classes: int) -> Float[Tensor, "N K"]:
    """Each example's class probabilities, by a model that wasn't trained on it."""
    count = retraining.count
    folds = torch.randperm(count, generator=torch.Generator().manual_seed(0)) % _FOLDS
    chances = torch.zeros(count, classes)
    whole = retraining.data.whole
    for fold in range(_FOLDS):
        outside = (folds == fold).nonzero()[:, 0]
        states = retraining.states([Run((folds != fold).nonzero()[:, 0], seed=fold)])
        for model in retraining.trained(states):
            with torch.no_grad():
                predictions = model(*(part[outside] for part in whole[:-1]))
            chances[outside] = predictions.softmax(dim=1).to(chances.dtype)
    return chances
