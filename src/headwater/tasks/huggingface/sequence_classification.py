"""One label, or several, for a whole text or image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from headwater.errors import InputError, LossError
from headwater.tasks.huggingface.labels import IGNORE_INDEX, labels_of, refuse_unlabelled
from headwater.tasks.huggingface.model_call import logits_of, model_inputs
from headwater.tasks.huggingface.task import HuggingFaceTask

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import nn

ProblemType = Literal["regression", "single_label_classification", "multi_label_classification"]

_PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


class SequenceClassification(HuggingFaceTask):
    """Classification or regression of whole examples, on logits of shape (B, number of labels).

    An example's loss is what the model's own loss is for a batch of it alone:

    single_label_classification
        labels (B,) of integers: cross-entropy.
    regression
        labels (B,), or (B, number of labels): squared error, averaged over an example's labels.
    multi_label_classification
        labels (B, number of labels) of zeros and ones: binary cross-entropy, averaged over labels.

    Args:
        labels: the labels' name in a batch.
        problem_type: one of these; None takes the model's `config.problem_type`, and where that is
            None too, as the models do: regression with one logit, single label for integers.
        label_smoothing: that of training with a single label, as `label_smoothing_factor` of
            transformers' `TrainingArguments`.
    """

    def __init__(
        self,
        *,
        labels: str = "labels",
        problem_type: ProblemType | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        if problem_type is not None and problem_type not in _PROBLEM_TYPES:
            raise InputError(
                f"problem_type is {problem_type!r}; expected one of {', '.join(_PROBLEM_TYPES)}"
            )
        super().__init__(labels=labels)
        self.problem_type = problem_type
        self.label_smoothing = label_smoothing

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        inputs = model_inputs(model, batch, self.labels)
        labels = labels_of(batch, self.labels)
        logits = logits_of(model, inputs)
        problem = self._problem(model, logits, labels)
        if problem == "single_label_classification":
            if labels.is_floating_point() or labels.numel() != len(logits):
                raise self._misfit(problem, "integers (B,)", logits, labels)
            return cross_entropy(
                logits,
                labels.reshape(-1).long(),
                reduction="none",
                ignore_index=IGNORE_INDEX,
                label_smoothing=self.label_smoothing,
            )
        one = logits.shape[1:] == (1,) and labels.numel() == len(logits)
        if not one and labels.shape != logits.shape:
            raise self._misfit(problem, "one for each logit", logits, labels)
        wanted = labels.reshape(logits.shape).to(logits.dtype)
        loss = mse_loss if problem == "regression" else binary_cross_entropy_with_logits
        return loss(logits, wanted, reduction="none").flatten(1).mean(dim=1)

    def refuse_unlabelled(self, batch: Any) -> None:
        labels = labels_of(batch, self.labels)
        if not labels.is_floating_point() and labels.dim():
            refuse_unlabelled(
                labels, IGNORE_INDEX, remedy="Leave examples without a label out of the dataset"
            )

    def _problem(self, model: nn.Module, logits: Tensor, labels: Tensor) -> str:
        said: str | None = getattr(getattr(model, "config", None), "problem_type", None)
        if self.problem_type is not None or said is not None:
            return self.problem_type or said or ""
        if logits.shape[-1] == 1:
            return "regression"
        integers = not labels.is_floating_point()
        return "single_label_classification" if integers else "multi_label_classification"

    def _misfit(self, problem: str, expected: str, logits: Tensor, labels: Tensor) -> LossError:
        return LossError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype} don't fit logits of "
            f"shape {tuple(logits.shape)} in {problem}: expected {expected}; for another kind of "
            f"problem pass problem_type to the task"
        )
