"""TrainingLoss: the loss of each training example, the baseline for finding wrong labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.capture import borrowed, eager
from headwater.checkpoints import default_checkpoints_load_func
from headwater.engine import memory_budget_bytes
from headwater.engine.forward_pass import ForwardPass
from headwater.errors import InputError, NonFiniteError
from headwater.estimators.gradient_estimator import even_weights
from headwater.estimators.misplaced import refuse_stored
from headwater.estimators.tracincp_base import TracInCPBase
from headwater.results import Wording

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor, nn

    from headwater.estimators.results import KMostInfluentialResults
    from headwater.tasks import Task


class TrainingLoss(TracInCPBase):
    """Each training example's own loss, averaged over checkpoints.

        self_influence(n) = 1/C sum over c of L(w_c, n)

    High for examples that the model learned late or never, wrong labels among them. It has no
    queries: a loss says nothing of any one prediction. Costs a forward pass per checkpoint.

    Args:
        model, influence_src_dataset, checkpoints, checkpoints_load_func, loss_fn, batch_size,
        task, memory_budget, collate_fn: see `TracInCP`; rates don't count.

    Raises:
        InputError: there is neither a loss nor a task, the checkpoints come from a generator, or
            the data is a store.
    """

    _wording = Wording(
        formula="",
        unit="",
        own_formula="self_influence(n) = mean over checkpoints of the loss of n",
        own_unit="that of the loss",
        own_sign="high for examples that the model doesn't fit: wrong labels, outliers, rare cases",
    )

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        checkpoints: Any,
        *,
        checkpoints_load_func: Callable[[nn.Module, Any], Any] = default_checkpoints_load_func,
        loss_fn: Callable[..., Any] | None = None,
        batch_size: int | Literal["auto"] = "auto",
        task: Task | None = None,
        memory_budget: int | str = "auto",
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        refuse_stored(influence_src_dataset, "TrainingLoss")
        if loss_fn is None and task is None:
            raise InputError("TrainingLoss needs the loss that training minimised: pass loss_fn")
        super().__init__(
            model,
            influence_src_dataset,
            checkpoints,
            checkpoints_load_func,
            loss_fn,
            batch_size,
            learning_rates=even_weights(checkpoints, checkpoints_load_func),
            task=task,
            memory_budget=memory_budget,
            collate_fn=collate_fn,
        )

    @property
    def _batched_loss(self) -> None:
        # Sums and means are taken apart example by example.
        return None

    def _refuse_odd_arguments(self, inputs: Any, targets: Any, k: int | None) -> None:
        super()._refuse_odd_arguments(inputs, targets, k)
        if inputs is not None:
            raise InputError(
                "TrainingLoss has no queries: a training example's loss is the same whatever is "
                "asked; call influence() without inputs"
            )

    def _self_influence(self, show_progress: bool = False) -> Float[Tensor, " N"]:
        net, task = eager(self.model), self._loss_task
        total: Tensor | None = None
        with borrowed(net):
            passing = ForwardPass(
                net,
                self._series,
                self._data,
                task,
                budget=memory_budget_bytes(self.memory_budget) // 4,
                name=self.get_name(),
                show_progress=show_progress,
            )
            for weight in passing.checkpoints():
                losses = []
                for start, found in passing.rows(lambda batch: task.own_losses(net, batch)):
                    _refuse_non_finite(found, start)
                    losses.append(found.float() if found.dtype.itemsize < 4 else found)
                part = weight * torch.cat(losses) if losses else torch.empty(0)
                total = part if total is None else total + part
        assert total is not None, "a series has at least one checkpoint"
        return total.cpu()

    def _influence(
        self, inputs: tuple[Any, ...], targets: Any = None, show_progress: bool = False
    ) -> Float[Tensor, "Q N"]:
        raise NotImplementedError

    def _get_k_most_influential(
        self,
        inputs: tuple[Any, ...],
        targets: Any = None,
        k: int = 5,
        proponents: bool = True,
        show_progress: bool = False,
    ) -> KMostInfluentialResults:
        raise NotImplementedError


def _refuse_non_finite(losses: Float[Tensor, " B"], start: int) -> None:
    odd = torch.isfinite(losses).logical_not().nonzero().flatten()
    if len(odd):
        place = int(odd[0])
        raise NonFiniteError(f"training example {start + place} has the loss {losses[place]:g}")
