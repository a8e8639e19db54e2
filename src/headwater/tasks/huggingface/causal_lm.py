"""Next-token prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.errors import BatchError
from headwater.tasks.batch import describe
from headwater.tasks.huggingface.labels import labels_of
from headwater.tasks.huggingface.token_task import TokenTask

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor


class CausalLanguageModelling(TokenTask):
    """Next-token prediction: each sequence's loss is the sum over its tokens, padding ignored.

    Labels are `batch["labels"]` where given, with `ignore_index` at tokens that don't count; else
    the input ids themselves, without those that `attention_mask` hides. They stand at the tokens'
    own places, as transformers has them: the logits at one place are held against the label at the
    next, and the first token of a sequence has no loss. See `TokenTask` for the arguments.
    """

    _shift = 1

    def targets(self, batch: Any) -> Int[Tensor, "B S"]:
        targets = self._labels(batch).clone()
        targets[:, 0] = self.ignore_index
        return targets

    def _labels(self, batch: Any) -> Tensor:
        if batch.get(self.labels) is not None:
            return labels_of(batch, self.labels)
        if "input_ids" not in batch:
            raise BatchError(f"{describe(batch)} has neither {self.labels!r} nor 'input_ids'")
        ids: Tensor = batch["input_ids"]
        mask = batch.get("attention_mask")
        return ids if mask is None else ids.masked_fill(mask == 0, self.ignore_index)
