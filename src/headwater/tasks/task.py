"""The contract between a model with its batches and everything that attributes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor
from torch.utils.data import default_collate

from headwater.errors import LossError
from headwater.tasks import batch as batches
from headwater.tasks.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from jaxtyping import Float
    from torch import nn


class LossSum(NamedTuple):
    """The sum of a batch's per-example losses, and how many they are."""

    total: Float[Tensor, ""]
    size: int


class Task(ABC):
    """How a model and a batch become one loss per example.

    The one method to write is `losses`. A subclass may read batches of any kind: tuples, dicts,
    objects of its own. Where a batch's first tensor doesn't have an entry per example along its
    first axis (steps before examples, the nodes of all graphs), it says how many examples there are
    in `size`, and takes some out in `examples`.
    """

    @property
    def rounds_to(self) -> torch.dtype | None:
        """The least precise dtype in which losses are computed; None: the one that they have."""
        return None

    @abstractmethod
    def losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        """Each example's own loss, differentiable, not divided by the batch size.

        Args:
            model: the model to call, in eval mode.
            batch: what the loader yields, on the model's device.

        Raises:
            BatchError: the batch isn't of the kind that this task reads.
        """

    def summed(self, model: nn.Module, batch: Any) -> LossSum:
        """The sum of the per-example losses; called for every batch, so it must be cheap.

        Raises:
            LossError: `losses` returned something other than one number per example.
        """
        losses = self.own_losses(model, batch)
        return LossSum(losses.sum(), losses.shape[0])

    def own_losses(self, model: nn.Module, batch: Any) -> Float[Tensor, " B"]:
        """What `losses` returns, after a look at its shape and type.

        Raises:
            LossError: it is something other than one real number per example, or they are others
                than `size` says.
        """
        losses = self.losses(model, batch)
        if not isinstance(losses, Tensor) or losses.dim() != 1 or not losses.is_floating_point():
            came = (
                f"a tensor of shape {tuple(losses.shape)} and type {losses.dtype}"
                if isinstance(losses, Tensor)
                else f"a {type(losses).__name__}"
            )
            raise LossError(
                f"{type(self).__name__}.losses returned {came}; expected one real floating-point "
                f"number per example, shape (B,)"
            )
        size = self.size(batch)
        if size not in (None, len(losses)):
            raise LossError(
                f"{type(self).__name__}.losses returned {len(losses)} losses, but its size says "
                f"{size} examples of this batch: {batches.shapes(batch)}. Unless overridden, size "
                f"is the first axis of the batch's first tensor, and examples cuts along the "
                f"first axis; override them where examples lie otherwise"
            )
        return losses

    def collate(
        self, model: nn.Module, examples: list[Any], collate_fn: Callable[[list[Any]], Any] | None
    ) -> Any:
        """The batch of some examples of a Dataset.

        Args:
            model: what will read the batch.
            examples: as the Dataset gives them.
            collate_fn: the user's; None stacks tensors and numbers.
        """
        return (default_collate if collate_fn is None else collate_fn)(examples)

    def stacks_rows(self) -> bool:
        """Whether a batch without a `collate_fn` is stacked examples, and nothing more.

        Batches of a TensorDataset are then slices of its tensors, which costs next to nothing.
        """
        return type(self).collate is Task.collate

    def examples(self, batch: Any, start: int, stop: int, *, size: int) -> Any:
        """The examples from `start` to before `stop` of a batch of `size`, as a batch.

        Every tensor, or list of texts or numbers, whose first axis has length `size` is taken to
        hold one entry per example, unless it had another length in another batch; whatever else is
        in the batch is passed on whole. Override where an example isn't one entry along the first
        axis.
        """
        return self.known_columns.cut(batch, start, stop, size=size)

    @cached_property
    def known_columns(self) -> Columns:
        """What is known of which parts of a batch have an entry per example."""
        return Columns()

    def size(self, batch: Any) -> int | None:
        """The number of examples in a batch, where it can be known without calling the model."""
        return batches.leading_size(batch)
