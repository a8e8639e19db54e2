"""Captum's TracInCPFast: exact influence over the final fully connected layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater import estimators
from headwater.checkpoints import default_checkpoints_load_func
from headwater.compat.captum.answers import Answers
from headwater.compat.captum.assertions import losses_are_asserted
from headwater.compat.captum.base import TracInCPBase
from headwater.compat.captum.final_layer import final_layer_of
from headwater.compat.captum.losses import reduced_loss_tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from headwater.estimators import KMostInfluentialResults


class TracInCPFast(TracInCPBase):
    """TracIn over checkpoints, with exact gradients of the final fully connected layer.

    The same numbers as `TracInCP(layers=[final_fc_layer])`, bias included, whatever comes after the
    layer.

    Args:
        final_fc_layer: the layer, or its dotted name.
        loss_fn: the plain sum or mean of the batch's losses, as `loss_fn.reduction` says; without
            that, the sum.
        vectorize: has no effect: gradients are always computed for a whole batch at once.
        model, train_dataset, checkpoints, checkpoints_load_func, batch_size, test_loss_fn: see
            `TracInCPBase`.

    Raises:
        CaptumArgumentError: `loss_fn` is None.
        CaptumLossError: `loss_fn.reduction` is neither "sum" nor "mean".
        SelectionError: the model has no such layer.
        InputError, NoCheckpointsError: see `TracInCPBase`.

    Source: the interface is that of captum.influence.TracInCPFast, 0.9.0. Differs: docs/captum.md.
    """

    def __init__(
        self,
        model: nn.Module,
        final_fc_layer: nn.Module | str,
        train_dataset: Any,
        checkpoints: Any,
        checkpoints_load_func: Callable[[nn.Module, Any], Any] = default_checkpoints_load_func,
        loss_fn: Callable[..., Any] | None = None,
        batch_size: int | None = 1,
        test_loss_fn: Callable[..., Any] | None = None,
        vectorize: bool = False,
    ) -> None:
        super().__init__(
            model,
            train_dataset,
            checkpoints,
            checkpoints_load_func,
            loss_fn,
            batch_size,
            test_loss_fn,
        )
        self.vectorize = vectorize
        self.final_fc_layer = final_layer_of(model, final_fc_layer)
        task, query_task = reduced_loss_tasks(loss_fn, test_loss_fn)
        estimator = estimators.TracInCPFast(
            model,
            final_fc_layer,
            self.train_dataloader,
            self.checkpoints,
            checkpoints_load_func,
            task=task,
        )
        self._answers = Answers(estimator._streamed, query_task)

    @losses_are_asserted()
    def influence(  # type: ignore[override]
        self,
        inputs: Any,
        k: int | None = None,
        proponents: bool = True,
        show_progress: bool = False,
    ) -> Tensor | KMostInfluentialResults:
        return self._answers.influence(inputs, k, proponents, show_progress=show_progress)

    @losses_are_asserted()
    def self_influence(
        self,
        inputs: Any = None,
        show_progress: bool = False,
        outer_loop_by_checkpoints: bool = False,
    ) -> Tensor:
        return self._answers.self_influence(inputs, show_progress=show_progress)
