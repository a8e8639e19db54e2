"""Which likelihood a task's loss is the negative logarithm of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import functional

from headwater.curvature.likelihood import Bernoulli, Categorical, Gaussian, Likelihood
from headwater.errors import CurvatureError
from headwater.tasks import LossTask, SequenceClassification, Task, TokenTask
from headwater.tasks.huggingface.labels import labels_of
from headwater.tasks.loss import split_batch

LikelihoodName: TypeAlias = Literal["categorical", "categorical-last", "bernoulli", "gaussian"]

_NAMED: dict[str, Likelihood] = {
    "categorical": Categorical(),
    # Of outputs (B, positions, classes), as language models have them.
    "categorical-last": Categorical(axis=-1),
    "bernoulli": Bernoulli(),
    "gaussian": Gaussian(),
}
_IGNORED_BY_DEFAULT = -100


def named_likelihood(name: str) -> Likelihood:
    """The likelihood that a user says a loss of their own is of.

    Raises:
        CurvatureError: there is none of that name.
    """
    if name not in _NAMED:
        raise CurvatureError(
            f"likelihood is {name!r}; expected one of {', '.join(map(repr, _NAMED))}, or None"
        )
    return _NAMED[name]


def find_likelihood(task: Task, model: nn.Module) -> Likelihood | None:
    """The likelihood of a task's loss; None for losses that aren't known here.

    Known are cross-entropy, negative log-likelihood, binary cross-entropy with logits and squared
    error, as modules or as functions with their settings bound by `functools.partial`; and the
    tasks for Hugging Face's models.
    """
    if isinstance(task, TokenTask):
        shift = task._shift
        return Categorical(
            axis=-1, targets=task.targets, ignore_index=task.ignore_index, shift=shift
        )
    if isinstance(task, SequenceClassification):
        return _SequenceLikelihood(task, model)
    if not isinstance(task, LossTask):
        return None
    settings = _settings(task.loss_fn)
    if settings is None:
        return None
    kind, given = settings
    averaged = (task.reduction or given.get("reduction")) == "mean"

    def targets(batch: Any) -> Tensor:
        found: Tensor = split_batch(batch)[1]
        return found

    if kind is functional.mse_loss:
        return Gaussian(averaged=averaged)
    if kind is functional.binary_cross_entropy_with_logits:
        return Bernoulli(
            targets=targets,
            weight=given.get("weight"),
            pos_weight=given.get("pos_weight"),
            averaged=averaged,
        )
    return Categorical(
        targets=targets,
        ignore_index=given.get("ignore_index", _IGNORED_BY_DEFAULT),
        weight=given.get("weight"),
        label_smoothing=given.get("label_smoothing", 0.0),
        averaged=averaged,
        log_probabilities=kind is functional.nll_loss,
    )


_FUNCTIONS: dict[Any, Callable[..., Tensor]] = {
    nn.CrossEntropyLoss: functional.cross_entropy,
    nn.NLLLoss: functional.nll_loss,
    nn.BCEWithLogitsLoss: functional.binary_cross_entropy_with_logits,
    nn.MSELoss: functional.mse_loss,
}


def _settings(loss_fn: Any) -> tuple[Callable[..., Tensor], Mapping[str, Any]] | None:
    function = _FUNCTIONS.get(type(loss_fn))
    if function is not None:
        names = ("weight", "pos_weight", "ignore_index", "label_smoothing", "reduction")
        return function, {name: getattr(loss_fn, name) for name in names if hasattr(loss_fn, name)}
    if isinstance(loss_fn, partial) and not loss_fn.args and loss_fn.func in _FUNCTIONS.values():
        return loss_fn.func, loss_fn.keywords
    if loss_fn in _FUNCTIONS.values():
        return loss_fn, {}
    return None


class _SequenceLikelihood(Likelihood):
    """That of `SequenceClassification`, whose kind of problem shows in its first batch."""

    def __init__(self, task: SequenceClassification, model: nn.Module) -> None:
        self._task = task
        self._model = model

    def draw(self, outputs: Tensor, batch: Any, index: Tensor, seed: int) -> Tensor:
        labels = labels_of(batch, self._task.labels)
        problem = self._task._problem(self._model, outputs, labels)
        likelihood: Likelihood
        if problem == "regression":
            likelihood = Gaussian(averaged=True)
        elif problem == "multi_label_classification":
            likelihood = Bernoulli(averaged=True)
        else:
            likelihood = Categorical(
                targets=lambda batch: labels_of(batch, self._task.labels).reshape(-1).long(),
                ignore_index=_IGNORED_BY_DEFAULT,
            )
        return likelihood.draw(outputs, batch, index, seed)
