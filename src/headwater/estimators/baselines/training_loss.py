"""TrainingLoss: the loss of each training example, the baseline for finding wrong labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headwater.errors import InputError, NonFiniteError
from headwater.estimators.baselines.forward_estimator import ForwardEstimator
from headwater.results import Wording

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn
    from typing_extensions import Unpack

    from headwater.engine.forward_pass import ForwardPass
    from headwater.estimators.baselines.forward_estimator import ForwardOptions
    from headwater.estimators.results import KMostInfluentialResults


class TrainingLoss(ForwardEstimator):
    """Each training example's own loss, averaged over checkpoints.

        self_influence(n) = 1/C sum over c of L(w_c, n)

    High for examples that the model learned late or never, wrong labels among them. It has no
    queries: a loss says nothing of any one prediction. Costs a forward pass per checkpoint.

    Args:
        model, influence_src_dataset, checkpoints: see `TracInCP`; rates don't count.
        options: see `ForwardOptions`; `loss_fn` or `task` is needed.

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
        **options: Unpack[ForwardOptions],
    ) -> None:
        if options.get("loss_fn") is None and options.get("task") is None:
            raise InputError("TrainingLoss needs the loss that training minimised: pass loss_fn")
        super().__init__(model, influence_src_dataset, checkpoints, **options)

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
        return self._mean(self._loss_task, self._losses, show_progress=show_progress)

    def _losses(self, passing: ForwardPass) -> Float[Tensor, " N"]:
        task, net = self._loss_task, self._net
        losses = []
        for start, found in passing.rows(lambda batch: task.own_losses(net, batch)):
            _refuse_non_finite(found, start)
            losses.append(found.float() if found.dtype.itemsize < 4 else found)
        return torch.cat(losses) if losses else torch.empty(0)

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
