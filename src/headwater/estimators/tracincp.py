"""TracInCP: exact influence over all layers, or over those that are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from headwater.capture import eager, select
from headwater.checkpoints import default_checkpoints_load_func
from headwater.errors import InputError
from headwater.estimators.answered import Answered
from headwater.estimators.stored.from_store import answering
from headwater.estimators.streamed import Streamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import nn

    from headwater.forms import Projected
    from headwater.tasks import Task


class TracInCP(Answered):
    """TracIn over checkpoints, with exact gradients of every selected parameter.

    Args:
        layers: dotted names of the modules or parameters that count; None takes every parameter
            that requires grad, which of a model with adapters of PEFT are the adapter's alone.
        sample_wise_grads_per_batch: what `loss_fn` returns: False, a loss per example; True, their
            sum or mean (`loss_fn.reduction` says which). Both are computed the same way.
        form: `Projected(dim, seed)` estimates scores from that many numbers per gradient; None
            computes them exactly.
        model, influence_src_dataset, checkpoints, checkpoints_load_func, loss_fn, batch_size,
        learning_rates, task, memory_budget, collate_fn: see `TracInCPBase`.

    Raises:
        SelectionError: `layers` has a name that the model doesn't have.
        LossError: `loss_fn.reduction` contradicts `sample_wise_grads_per_batch`.

    Source: Pruthi et al. (2020), arXiv 2002.08484, section 3.2.
    """

    _takes_sharded = True

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        checkpoints: Any,
        checkpoints_load_func: Callable[[nn.Module, Any], Any] = default_checkpoints_load_func,
        layers: Iterable[str] | None = None,
        loss_fn: Callable[..., Any] | None = None,
        batch_size: int | Literal["auto"] = "auto",
        sample_wise_grads_per_batch: bool = False,
        *,
        learning_rates: Iterable[float] | None = None,
        task: Task | None = None,
        memory_budget: int | str = "auto",
        collate_fn: Callable[[list[Any]], Any] | None = None,
        form: Projected | None = None,
    ) -> None:
        if task is not None and sample_wise_grads_per_batch:
            raise InputError("sample_wise_grads_per_batch is about loss_fn; a task has none")
        self.sample_wise_grads_per_batch = sample_wise_grads_per_batch
        super().__init__(
            model,
            influence_src_dataset,
            checkpoints,
            checkpoints_load_func,
            loss_fn,
            batch_size,
            learning_rates=learning_rates,
            task=task,
            memory_budget=memory_budget,
            collate_fn=collate_fn,
        )
        net = eager(model)
        self._selection = select(net, layers)
        self._streamed = Streamed(
            net,
            self._selection,
            self._series,
            self._data,
            self._loss_task,
            form=form,
            memory_budget=memory_budget,
            name=self.get_name(),
        )
        self._answers = answering(self._streamed, influence_src_dataset, checkpoints)

    @property
    def _batched_loss(self) -> bool:
        return self.sample_wise_grads_per_batch
