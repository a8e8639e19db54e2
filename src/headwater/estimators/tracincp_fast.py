"""TracInCPFast: exact influence over the final fully connected layer, at a forward pass's cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from headwater.capture import eager
from headwater.checkpoints import default_checkpoints_load_func
from headwater.estimators.answered import Answered
from headwater.estimators.final_layer import select_final_layer
from headwater.estimators.stored.from_store import answering
from headwater.estimators.streamed import Streamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import nn

    from headwater.forms import Projected
    from headwater.tasks import Task


class TracInCPFast(Answered):
    """TracIn over checkpoints, with exact gradients of the final fully connected layer.

    The same numbers as `TracInCP(layers=[final_fc_layer])`, bias included, whatever comes after the
    layer. Only what comes after it is differentiated, so the cost is about that of a forward pass.
    A layer whose weight is tied to an earlier one has gradients there too; they count, and cost a
    backward pass.

    Args:
        final_fc_layer: the layer, or its dotted name.
        loss_fn: `(predictions, targets) -> losses`: one per example, or their plain sum or mean,
            as `loss_fn.reduction` or else the shape of what it returns says.
        vectorize: has no effect: gradients are always computed for a whole batch at once.
        form: `Projected(dim, seed)` estimates scores from that many numbers per gradient; None
            computes them exactly.
        model, influence_src_dataset, checkpoints, checkpoints_load_func, batch_size,
        learning_rates, task, memory_budget, collate_fn: see `TracInCPBase`.

    Raises:
        SelectionError: the model has no such layer.

    Source: Pruthi et al. (2020), arXiv 2002.08484, section 3.4 and appendix.
    """

    _takes_sharded = True

    def __init__(
        self,
        model: nn.Module,
        final_fc_layer: nn.Module | str,
        influence_src_dataset: Any,
        checkpoints: Any,
        checkpoints_load_func: Callable[[nn.Module, Any], Any] = default_checkpoints_load_func,
        loss_fn: Callable[..., Any] | None = None,
        batch_size: int | Literal["auto"] = "auto",
        vectorize: bool = False,
        *,
        learning_rates: Iterable[float] | None = None,
        task: Task | None = None,
        memory_budget: int | str = "auto",
        collate_fn: Callable[[list[Any]], Any] | None = None,
        form: Projected | None = None,
    ) -> None:
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
        self.final_fc_layer = final_fc_layer
        self.vectorize = vectorize
        self._selection = select_final_layer(model, final_fc_layer)
        self._streamed = Streamed(
            eager(model),
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
    def _batched_loss(self) -> None:
        return None
