"""Tasks whose loss is a sum over tokens."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from headwater.errors import LossError
from headwater.tasks.huggingface.labels import IGNORE_INDEX, refuse_unlabelled
from headwater.tasks.huggingface.model_call import logits_of, model_inputs
from headwater.tasks.huggingface.task import HuggingFaceTask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Int
    from torch import nn


class TokenTask(HuggingFaceTask):
    """An example's loss is the sum of its tokens' cross-entropies, those that don't count left out.

    A sum, where the models' own loss is a mean over all tokens of a batch: the two differ by a
    factor that is the same for every token, and an example's influence is the sum of its tokens'
    influences. For means per example, divide a training example's scores (and a query's) by its
    number of tokens that count.

    Args:
        labels: the labels' name in a batch.
        ignore_index: the label of a token that doesn't count.
        label_smoothing: that of training, as `label_smoothing_factor` of transformers'
            `TrainingArguments`.
    """

    # How many tokens lie between a label and the logits that predict it.
    _shift = 0

    def __init__(
        self,
        *,
        labels: str = "labels",
        ignore_index: int = IGNORE_INDEX,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(labels=labels)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    @abstractmethod
    def targets(self, batch: Any) -> Int[Tensor, "B S"]:
        """The label of each token that has a loss, in its place; `ignore_index` elsewhere.

        Raises:
            BatchError: the batch has no labels.
        """

    def completed(self, model: nn.Module, batch: Any) -> Mapping[str, Any]:
        """The batch with labels and all that the model would make of them written out.

        So that its labels can be changed, and nothing else changes with them.
        """
        return {**batch, self.labels: self.targets(batch)}

    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        inputs = model_inputs(model, batch, self.labels)
        targets = self.targets(batch)
        logits = logits_of(model, self._with_decoder(model, inputs, batch))
        if logits.dim() != 3 or logits.shape[:2] != targets.shape:
            raise LossError(
                f"the labels have shape {tuple(targets.shape)} and the logits "
                f"{tuple(logits.shape)}; expected a label for each token, (B, S) and (B, S, ...)"
            )
        token_losses = cross_entropy(
            logits[:, : logits.shape[1] - self._shift].mT,
            targets[:, self._shift :],
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return token_losses.sum(dim=1)

    def refuse_unlabelled(self, batch: Any) -> None:
        refuse_unlabelled(
            self.targets(batch),
            self.ignore_index,
            remedy=(
                "Leave such examples out of the dataset (dataset.filter), or see whether "
                "truncation cut off every token that counts"
            ),
        )

    def _with_decoder(
        self, model: nn.Module, inputs: dict[str, Any], batch: Any
    ) -> Mapping[str, Any]:
        return inputs
