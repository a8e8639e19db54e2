"""Captum's TracInCPFastRandProj: the final layer's influence from one vector per example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater import estimators
from headwater.capture import eager
from headwater.checkpoints import default_checkpoints_load_func
from headwater.compat.captum.answers import checked_k
from headwater.compat.captum.assertions import losses_are_asserted
from headwater.compat.captum.base import TracInCPBase
from headwater.compat.captum.batches import as_data
from headwater.compat.captum.final_layer import final_layer_of
from headwater.compat.captum.losses import reduced_loss_tasks
from headwater.estimators import KMostInfluentialResults
from headwater.estimators.final_layer import select_final_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


class TracInCPFastRandProj(TracInCPBase):
    """Influence over the final layer, from vectors that are computed once, in the constructor.

    Args:
        nearest_neighbors: searches the vectors: any object with `setup(data)` and
            `get_nearest_neighbors(query, k) -> (indices, scores)`; None searches exactly.
        projection_dim: the length of the vectors per checkpoint: they have `projection_dim` times
            as many numbers as there are checkpoints, and scores are estimates. None, or no less
            than the layer's weight has numbers, keeps whole gradients, and scores are exact.
        seed: picks the projection, which is drawn from a generator of its own.
        model, final_fc_layer, train_dataset, checkpoints, checkpoints_load_func, loss_fn,
        batch_size, test_loss_fn, vectorize: see `TracInCPFast`, also for errors.

    Source: the interface is that of captum.influence.TracInCPFastRandProj, 0.9.0. Differs:
        docs/captum.md.
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
        nearest_neighbors: Any = None,
        projection_dim: int | None = None,
        seed: int = 0,
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
        self.projection_dim = projection_dim
        self.seed = seed
        self._task, self._query_task = reduced_loss_tasks(loss_fn, test_loss_fn)
        with losses_are_asserted():
            self._estimator = estimators.TracInCPFastRandProj(
                model,
                final_fc_layer,
                self.train_dataloader,
                self.checkpoints,
                checkpoints_load_func,
                nearest_neighbors=nearest_neighbors,
                projection_dim=self._length(final_fc_layer),
                seed=seed,
                task=self._task,
            )
        self.nearest_neighbors = self._estimator.nearest_neighbors

    @losses_are_asserted()
    def influence(  # type: ignore[override]
        self, inputs: Any = None, k: int | None = 5, proponents: bool = True
    ) -> Tensor | KMostInfluentialResults:
        k = checked_k(k)
        queries = self._vectors(inputs, test=True)
        if k is None:
            return self._home(queries @ self.src_intermediate_quantities.mT)
        top = self._estimator._nearest(queries, k=k, proponents=proponents)
        return KMostInfluentialResults(*map(self._home, top))

    @losses_are_asserted()
    def self_influence(
        self,
        inputs: Any = None,
        show_progress: bool = False,
        outer_loop_by_checkpoints: bool = False,
    ) -> Tensor:
        vectors = self.src_intermediate_quantities if inputs is None else self._vectors(inputs)
        return self._home(vectors.square().sum(dim=1))

    @losses_are_asserted()
    def compute_intermediate_quantities(self, inputs: Any, *, test: bool = False) -> Tensor:
        """One vector per example, whose dot products are, or estimate, influence scores.

        Args:
            inputs: the examples, as for `influence`.
            test: whether they are queries, to which `test_loss_fn` applies and not `loss_fn`.

        Returns:
            on the model's device, `(N, D)`; see the class for D.

        Raises:
            as for `influence`.
        """
        return self._home(self._vectors(inputs, test=test))

    @property
    def src_intermediate_quantities(self) -> Tensor:
        """The training examples' vectors, `(N, D)`, on the CPU."""
        return self._estimator._vectors

    def _vectors(self, inputs: Any, *, test: bool = False) -> Tensor:
        return self._estimator._example_vectors.of(
            as_data(inputs, order_matters=True),
            self._query_task if test else self._task,
            kind="query" if test else "example",
            show_progress=False,
        )

    def _length(self, final_fc_layer: nn.Module | str) -> int | None:
        names = select_final_layer(self.model, final_fc_layer)
        parameters = dict(eager(self.model).named_parameters())
        weight = max(parameters[name].numel() for name in names)
        if self.projection_dim is None or self.projection_dim >= weight:
            return None
        return self.projection_dim * len(self.checkpoints)

    def _home(self, tensor: Tensor) -> Tensor:
        return tensor.to(next(self.model.parameters()).device)
