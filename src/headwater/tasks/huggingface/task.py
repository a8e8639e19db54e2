"""What the tasks for models in the style of Hugging Face have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from headwater.tasks.huggingface.model_call import model_inputs
from headwater.tasks.huggingface.rows import collate_rows
from headwater.tasks.task import LossSum, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


class HuggingFaceTask(Task):
    """A loss on `model(**batch).logits`, for batches that are mappings: dicts, `BatchEncoding`s.

    The model is called without labels, and the loss is taken here, example by example: what a
    model makes of labels itself is a mean over the batch. Auxiliary losses that a model adds to
    its own, such as those of mixtures of experts, are no part of it.

    Args:
        labels: the labels' name in a batch.
    """

    def __init__(self, *, labels: str = "labels") -> None:
        self.labels = labels

    @abstractmethod
    def refuse_unlabelled(self, batch: Any) -> None:
        """Raises BatchError for a batch with an example of which no label counts."""

    def summed(self, model: nn.Module, batch: Any) -> LossSum:
        # Here and not in `losses`, which is also called on parts of batches, under vmap.
        model_inputs(model, batch, self.labels)
        self.refuse_unlabelled(batch)
        return super().summed(model, batch)

    def size(self, batch: Any) -> int | None:
        labels = batch.get(self.labels) if isinstance(batch, Mapping) else None
        if isinstance(labels, Tensor) and labels.dim():
            return labels.shape[0]
        return super().size(batch)

    def collate(
        self, model: nn.Module, examples: list[Any], collate_fn: Callable[[list[Any]], Any] | None
    ) -> Any:
        return collate_rows(model, examples, collate_fn, self.labels)
