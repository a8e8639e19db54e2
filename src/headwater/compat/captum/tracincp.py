"""Captum's TracInCP: exact influence over all layers, or over those that are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater import estimators
from headwater.checkpoints import default_checkpoints_load_func
from headwater.compat.captum.answers import Answers
from headwater.compat.captum.assertions import losses_are_asserted
from headwater.compat.captum.base import TracInCPBase
from headwater.compat.captum.batches import as_data
from headwater.compat.captum.losses import LossOrOutputs, loss_task
from headwater.errors import CaptumArgumentError, CaptumLayerError, SelectionError
from headwater.estimators.example_vectors import ExampleVectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from headwater.estimators import KMostInfluentialResults


class TracInCP(TracInCPBase):
    """TracIn over checkpoints, with exact gradients of every selected parameter.

    Args:
        layers: names of the modules that count, each once; None takes every parameter that
            requires grad.
        loss_fn: a loss per example (what it returns of one is added up), or, by
            `sample_wise_grads_per_batch`, the plain sum or mean of the batch's, as
            `loss_fn.reduction` says. None: the sum of an example's outputs.
        sample_wise_grads_per_batch: which of the two `loss_fn` and `test_loss_fn` are. Both are
            computed the same way, at the same speed, for any layer.
        model, train_dataset, checkpoints, checkpoints_load_func, batch_size, test_loss_fn: see
            `TracInCPBase`.

    Raises:
        CaptumLossError: `loss_fn.reduction` contradicts `sample_wise_grads_per_batch`.
        CaptumArgumentError: `layers` is no list of names.
        CaptumLayerError: `layers` has a name that the model doesn't have.
        InputError, NoCheckpointsError: see `TracInCPBase`.

    Source: the interface is that of captum.influence.TracInCP, 0.9.0. Differs: docs/captum.md.
    """

    def __init__(
        self,
        model: nn.Module,
        train_dataset: Any,
        checkpoints: Any,
        checkpoints_load_func: Callable[[nn.Module, Any], Any] = default_checkpoints_load_func,
        layers: list[str] | None = None,
        loss_fn: Callable[..., Any] | None = None,
        batch_size: int | None = 1,
        test_loss_fn: Callable[..., Any] | None = None,
        sample_wise_grads_per_batch: bool = False,
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
        self.sample_wise_grads_per_batch = sample_wise_grads_per_batch
        self.layers = layers
        self._task = self._task_of(loss_fn, "loss_fn")
        self._query_task = (
            self._task if test_loss_fn is None else self._task_of(test_loss_fn, "test_loss_fn")
        )
        _refuse_odd_layers(layers)
        try:
            estimator = estimators.TracInCP(
                model,
                self.train_dataloader,
                self.checkpoints,
                checkpoints_load_func,
                layers=layers,
                task=self._task,
            )
        except SelectionError as error:
            raise CaptumLayerError(*error.args) from error
        self._parts = estimator._streamed
        self._answers = Answers(self._parts, self._query_task)

    @losses_are_asserted()
    def influence(  # type: ignore[override]
        self,
        inputs: Any,
        k: int | None = None,
        proponents: bool = True,
        show_progress: bool = False,
        aggregate: bool = False,
    ) -> Tensor | KMostInfluentialResults:
        """As for `TracInCPBase`; `aggregate=True` gives one row, the sum over all queries.

        That takes the memory and the products of a single query. The k are then those of the sum,
        and a loader may shuffle.
        """
        return self._answers.influence(
            inputs, k, proponents, show_progress=show_progress, aggregate=aggregate
        )

    @losses_are_asserted()
    def self_influence(
        self,
        inputs: Any = None,
        show_progress: bool = False,
        outer_loop_by_checkpoints: bool = False,
    ) -> Tensor:
        return self._answers.self_influence(inputs, show_progress=show_progress)

    @losses_are_asserted()
    def compute_intermediate_quantities(
        self, inputs: Any, aggregate: bool = False, *, test: bool = False
    ) -> Tensor:
        """One vector per example, whose dot products are influence scores.

            v(n) = sqrt(rate_c) * grad L(w_c, n), for all checkpoints c, one after the other

        Memory: N * D numbers; with `aggregate`, D numbers and those of one batch.

        Args:
            inputs: the examples, as for `influence`.
            aggregate: whether the sum of all vectors is returned.
            test: whether they are queries, to which `test_loss_fn` applies and not `loss_fn`.

        Returns:
            on the model's device, `(N, D)`, or `(1, D)` where aggregated; D is the number of
            checkpoints times that of selected parameters.

        Raises:
            as for `influence`.
        """
        vectors = ExampleVectors(
            self._parts.net,
            self._parts.selection,
            self._parts.series,
            form=None,
            memory_budget=self._parts.memory_budget,
            name=self.get_name(),
        )
        make = vectors.summed if aggregate else vectors.of
        found = make(
            as_data(inputs, order_matters=not aggregate),
            self._query_task if test else self._task,
            kind="query" if test else "example",
            show_progress=False,
        )
        return found.to(next(self._parts.net.parameters()).device)

    def _task_of(self, loss_fn: Callable[..., Any] | None, name: str) -> LossOrOutputs:
        if loss_fn is None:
            return LossOrOutputs(None)
        return LossOrOutputs(
            loss_task(loss_fn, name=name, reduced=self.sample_wise_grads_per_batch)
        )


def _refuse_odd_layers(layers: Any) -> None:
    if layers is None:
        return
    if not isinstance(layers, list):
        raise CaptumArgumentError(
            f"layers is a {type(layers).__name__}; it should be a list of names, or None for all"
        )
    if not layers:
        raise CaptumArgumentError("layers cannot be empty; name layers, or leave it out for all")
    if not all(isinstance(layer, str) for layer in layers):
        raise CaptumArgumentError(f"layers is {layers!r}; it should contain names, as str")
