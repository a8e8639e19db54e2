"""Per-example gradients without a rule: batched by `torch.func`, or one backward per example."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from headwater.capture.autograd import own_gradients
from headwater.capture.plan import listed
from headwater.capture.stand_ins.plain_recurrence import computed_plainly, recurrent_layers
from headwater.forms.cost import examples_per_scratch
from headwater.tasks.batch import leaves, map_leaves
from headwater.tasks.out_of_memory import ran_out_of_memory

if TYPE_CHECKING:
    from headwater.distributed import Gathered
    from headwater.tasks import Task

logger = logging.getLogger("headwater")

_LONGEST_REASON = 100


class _Losses(nn.Module):
    """The task as a module around the model, so that `functional_call` can swap parameters."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, batch: Any) -> Tensor:
        return self.task.losses(self.model, batch)


class Fallback:
    """Materialised per-example gradients of any parameters of any model.

    Three ways, each slower and more general than the one before: all examples at once under
    `vmap`; a forward and backward pass per example; one forward pass for the batch and a backward
    pass per example, for batches that can't be cut into examples.

    Args:
        model: the model.
        gathered: attached to it.

    Attributes:
        way_number: of the way that is gone now.
    """

    _WAYS = ("vmap", "one pass per example", "one backward pass per example")

    def __init__(self, model: nn.Module, gathered: Gathered) -> None:
        self._model = model
        self._gathered = gathered
        # Under vmap nothing is gathered of a sharded model.
        self.way_number = 1 if gathered.sharded else 0
        self._names: list[str] = []
        self._recurrent = recurrent_layers(model)

    @property
    def way(self) -> str:
        """The way that is gone now."""
        return self._WAYS[self.way_number]

    def next_way(self, reason: str, *, cut_is_right: bool = False) -> bool:
        """Goes on to the next way, for this and all later batches; False if there is none.

        Args:
            reason: why, for the log.
            cut_is_right: whether examples alone are known to have the losses that they have in the
                batch. Then what a pass per example says is final: the last way, which is for
                batches that can't be cut, would only hide that gradients depend on the batch.
        """
        last = len(self._WAYS) - (2 if cut_is_right else 1)
        if self.way_number >= last:
            return False
        self.way_number += 1
        count = len(self._names)
        # What the last way costs is the same again; one warning is enough.
        logger.log(
            logging.WARNING if self.way_number == 1 else logging.INFO,
            "headwater: gradients of %d parameter%s (%s) by %s from now on, which is slower and "
            "equally right; torch.func can't batch them (%s)",
            count,
            "" if count == 1 else "s",
            listed(self._names),
            self._WAYS[self.way_number],
            _short(reason),
        )
        return True

    def gradients(self, names: list[str], task: Task, batch: Any, size: int) -> dict[str, Tensor]:
        """Each named parameter's gradients, shape (B, P)."""
        self._names = names
        while True:
            way = (self._vmapped, self._one_by_one, self._retained)[self.way_number]
            try:
                return way(names, task, batch, size)
            except Exception as error:
                # Whatever a model can't do under vmap, or with a batch of one, it may do in the
                # next way; what fails in the last one is the user's to see. Of what doesn't fit
                # into memory a smaller batch is tried first.
                reason = f"{type(error).__name__}: {error}"
                if ran_out_of_memory(error) or not self.next_way(reason):
                    raise
            finally:
                self._gathered.reshard()

    def _vmapped(self, names: list[str], task: Task, batch: Any, size: int) -> dict[str, Tensor]:
        parameters = dict(self._model.named_parameters())
        chosen = {f"model.{name}": parameters[name].detach() for name in names}
        parts = list(leaves(batch))
        are_columns = task.known_columns.of(batch, size)
        columns = [leaf for leaf, is_one in zip(parts, are_columns, strict=True) if is_one]
        if not columns or any(isinstance(leaf, list) for leaf in parts):
            raise TypeError("vmap needs all columns of the batch as tensors")
        losses = _Losses(self._model, task)

        def loss(chosen: dict[str, Tensor], *example: Tensor) -> Tensor:
            rows, is_one = iter(example), iter(are_columns)
            single = map_leaves(batch, lambda leaf: next(rows)[None] if next(is_one) else leaf)
            value: Tensor = functional_call(losses, chosen, (single,))
            return value[0]

        numbers = sum(parameter.numel() for parameter in chosen.values())
        itemsize = max(parameter.element_size() for parameter in chosen.values())
        # Several times the scratch, since vmap over few examples at a time wastes its overhead.
        chunk = max(8, 4 * examples_per_scratch(numbers, itemsize))
        # Neither torch's fused attention nor its recurrences can be batched.
        attention, recurrences = sdpa_kernel(SDPBackend.MATH), computed_plainly(self._recurrent)
        with torch.no_grad(), warnings.catch_warnings(), attention, recurrences:
            # PyTorch says which operators it batches by a loop; that is what was asked for.
            warnings.filterwarnings("ignore", message="There is a performance drop")
            found = vmap(grad(loss), in_dims=(None, *(0 for _ in columns)), chunk_size=chunk)(
                chosen, *columns
            )
        return {name: found[f"model.{name}"].flatten(1) for name in names}

    def _one_by_one(self, names: list[str], task: Task, batch: Any, size: int) -> dict[str, Tensor]:
        chosen = self._chosen(names)
        rows = []
        for index in range(size):
            single = task.examples(batch, index, index + 1, size=size)

            def loss(single: Any = single) -> Tensor:
                losses = task.losses(self._model, single)
                if losses.shape != (1,):
                    raise ValueError(f"one example of the batch has {tuple(losses.shape)} losses")
                return losses[0]

            found = own_gradients(loss, chosen, self._gathered, whole=True)
            rows.append(list(found.values()))
        return _stacked(names, rows)

    def _retained(self, names: list[str], task: Task, batch: Any, size: int) -> dict[str, Tensor]:
        chosen = self._chosen(names)
        rows = []
        for index in range(size):

            def loss(index: int = index) -> Tensor:
                return task.losses(self._model, batch)[index]

            found = own_gradients(loss, chosen, self._gathered, whole=True)
            rows.append(list(found.values()))
        return _stacked(names, rows)

    def _chosen(self, names: list[str]) -> dict[str, Tensor]:
        parameters: dict[str, Tensor] = dict(self._model.named_parameters())
        return {name: parameters[name] for name in names}


def _short(reason: str) -> str:
    """The first line, and not more than fits the end of a message."""
    first = reason.strip().partition("\n")[0]
    return first if len(first) <= _LONGEST_REASON else f"{first[: _LONGEST_REASON - 3]}..."


def _stacked(names: list[str], rows: list[list[Tensor]]) -> dict[str, Tensor]:
    columns = zip(*rows, strict=True)
    return {name: torch.stack(column) for name, column in zip(names, columns, strict=True)}
