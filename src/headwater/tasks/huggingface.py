"""Tasks for models in the style of Hugging Face: dict batches in, an object with logits out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from headwater.errors import BatchError, LossError
from headwater.tasks.batch import describe
from headwater.tasks.task import Task

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import nn


def _model_inputs(batch: Any, labels: str) -> dict[str, Any]:
    if not isinstance(batch, Mapping):
        raise BatchError(
            f"a batch is {describe(batch)}; a mapping is expected whose entries are the model's "
            f"keyword arguments, with the labels under {labels!r}"
        )
    # Without the labels: the model would otherwise compute a mean loss of its own.
    return {key: value for key, value in batch.items() if key != labels}


def _logits(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    output = model(**inputs)
    logits = (
        output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    )
    if logits is None and isinstance(output, tuple) and output:
        logits = output[0]
    if not isinstance(logits, Tensor):
        raise LossError(
            f"the model returned a {type(output).__name__} without a tensor `logits`; for other "
            f"outputs write a headwater.Task of your own (one method, `losses`)"
        )
    return logits


class SequenceClassification(Task):
    """One label per example, on `model(**batch).logits` of shape (B, number of labels).

    Integer labels (B,): cross-entropy. Real labels (B,) with one logit: squared error. Real labels
    (B, number of labels): binary cross-entropy, averaged over labels as the models' own loss is.
    """

    def __init__(self, *, labels: str = "labels") -> None:
        self.labels = labels

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        inputs = _model_inputs(batch, self.labels)
        if self.labels not in batch:
            raise BatchError(f"{describe(batch)} has no labels under {self.labels!r}")
        logits, labels = _logits(model, inputs), batch[self.labels]
        if not labels.is_floating_point():
            return cross_entropy(logits, labels, reduction="none")
        if labels.dim() == 1 and logits.shape[1:] == (1,):
            return mse_loss(logits[:, 0], labels, reduction="none")
        if labels.shape != logits.shape:
            raise LossError(
                f"real-valued labels of shape {tuple(labels.shape)} don't fit logits of shape "
                f"{tuple(logits.shape)}: expected (B,) with one logit, or the logits' shape"
            )
        losses = binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return losses.mean(dim=1)


class CausalLanguageModelling(Task):
    """Next-token prediction: each sequence's loss is the sum over its tokens, padding ignored.

    Labels are `batch["labels"]` where given, with `ignore_index` at tokens that don't count; else
    the input ids themselves, without those that `attention_mask` hides. A sum, not a mean: a
    sequence's influence is the sum of its tokens' influences.
    """

    def __init__(self, *, labels: str = "labels", ignore_index: int = -100) -> None:
        self.labels = labels
        self.ignore_index = ignore_index

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        inputs = _model_inputs(batch, self.labels)
        labels = self._labels(batch)
        if hasattr(getattr(model, "config", None), "use_cache"):
            # The cache serves generation; here it would only cost memory.
            inputs.setdefault("use_cache", False)
        logits = _logits(model, inputs)
        token_losses = cross_entropy(
            logits[:, :-1].mT, labels[:, 1:], ignore_index=self.ignore_index, reduction="none"
        )
        return token_losses.sum(dim=1)

    def _labels(self, batch: Mapping[str, Any]) -> Tensor:
        labels: Tensor | None = batch.get(self.labels)
        if labels is not None:
            return labels
        if "input_ids" not in batch:
            raise BatchError(f"{describe(batch)} has neither {self.labels!r} nor 'input_ids'")
        ids: Tensor = batch["input_ids"]
        mask = batch.get("attention_mask")
        return ids if mask is None else ids.masked_fill(mask == 0, self.ignore_index)
