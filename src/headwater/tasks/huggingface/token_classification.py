"""A label for each token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.tasks.huggingface.labels import labels_of
from headwater.tasks.huggingface.token_task import TokenTask

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor


class TokenClassification(TokenTask):
    """A label for each token, on logits (B, S, number of labels): tags, or masked words.

    An example's loss is the sum over its tokens of the cross-entropy, those with the label
    `ignore_index` left out; see `TokenTask` for the arguments.
    """

    def targets(self, batch: Any) -> Int[Tensor, "B S"]:
        return labels_of(batch, self.labels)
