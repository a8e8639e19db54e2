"""TracInCPFastRandProj: the final layer's influence from one short vector per example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.capture import eager
from headwater.checkpoints import default_checkpoints_load_func
from headwater.errors import InputError
from headwater.estimators.example_vectors import ExampleVectors
from headwater.estimators.final_layer import select_final_layer
from headwater.estimators.query_batches import query_batches
from headwater.estimators.results import KMostInfluentialResults
from headwater.estimators.store_place import names_store
from headwater.estimators.tracincp_base import TracInCPBase
from headwater.forms import Projected
from headwater.query import ExactNearestNeighbors, NearestNeighbors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jaxtyping import Float
    from torch import Tensor, nn

    from headwater.engine.sink import AnySink
    from headwater.estimators.question import Question
    from headwater.tasks import Task


# Vectors whose products with the queries are taken at a time.
_ROWS = 16_384


class TracInCPFastRandProj(TracInCPBase):
    """Influence over the final layer, from vectors that are computed once, in the constructor.

        v(n) = sum over c of sqrt(rate_c) * P_c grad L(w_c, n),    influence(q, n) ~ <v(q), v(n)>

    A query then costs its own forward passes and a search. Memory: N * projection_dim numbers.

    Args:
        nearest_neighbors: searches the vectors; None searches exactly. Any object with
            `setup(data)` and `get_nearest_neighbors(query, k) -> (indices, scores)`, such as
            `FaissNearestNeighbors()`.
        projection_dim: the length of the vectors, exactly; scores are estimates whose variance
            falls as 1 / projection_dim. None keeps whole gradients of all checkpoints, and scores
            are exact.
        seed: picks the projection, which is drawn from a generator of its own.
        model, final_fc_layer, loss_fn, vectorize: see `TracInCPFast`.
        influence_src_dataset, checkpoints, checkpoints_load_func, batch_size, learning_rates,
        task, memory_budget, collate_fn: see `TracInCPBase`.

    Raises:
        InputError: the checkpoints come from a generator, though every query visits them again; or
            `nearest_neighbors` lacks a method.
        SelectionError: the model has no such layer.

    Source: Pruthi et al. (2020), arXiv 2002.08484, section 3.4. Differs: one projection of the
        gradient in place of two projections of its factors, at any length; see `Projected`.
    """

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
        nearest_neighbors: Any = None,
        projection_dim: int | None = None,
        seed: int = 0,
        *,
        learning_rates: Iterable[float] | None = None,
        task: Task | None = None,
        memory_budget: int | str = "auto",
        collate_fn: Callable[[list[Any]], Any] | None = None,
        show_progress: bool = False,
    ) -> None:
        if names_store(influence_src_dataset):
            raise InputError(
                "influence_src_dataset is a store, but the vectors of TracInCPFastRandProj are its "
                "own and in memory; a TracInCPFast answers from a store, also from a projected one"
            )
        if nearest_neighbors is None:
            nearest_neighbors = ExactNearestNeighbors()
        for method in ("setup", "get_nearest_neighbors"):
            if not callable(getattr(nearest_neighbors, method, None)):
                raise InputError(
                    f"nearest_neighbors is a {type(nearest_neighbors).__name__} without "
                    f"{method}(); expected setup(data) and get_nearest_neighbors(query, k)"
                )
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
        self.nearest_neighbors: NearestNeighbors = nearest_neighbors
        self.projection_dim = projection_dim
        self.seed = seed
        self._selection = select_final_layer(model, final_fc_layer)
        self._series = self._series.selecting(self._selection)
        self._example_vectors = ExampleVectors(
            eager(model),
            self._selection,
            self._series,
            form=None if projection_dim is None else Projected(projection_dim, seed),
            memory_budget=memory_budget,
            name=self.get_name(),
        )
        self._vectors = self._example_vectors.of(
            self._data, self._loss_task, kind="training example", show_progress=show_progress
        )
        self.nearest_neighbors.setup(self._vectors)

    @property
    def _batched_loss(self) -> None:
        return None

    def _self_influence(self, show_progress: bool = False) -> Float[Tensor, " N"]:
        return self._vectors.square().sum(dim=1)

    def _influence(
        self, inputs: tuple[Any, ...], targets: Any = None, show_progress: bool = False
    ) -> Float[Tensor, "Q N"]:
        return self._query_vectors(inputs, targets, show_progress) @ self._vectors.mT

    def _get_k_most_influential(
        self,
        inputs: tuple[Any, ...],
        targets: Any = None,
        k: int = 5,
        proponents: bool = True,
        show_progress: bool = False,
    ) -> KMostInfluentialResults:
        queries = self._query_vectors(inputs, targets, show_progress)
        return self._nearest(queries, k=k, proponents=proponents)

    def _nearest(
        self, queries: Float[Tensor, "Q D"], *, k: int, proponents: bool
    ) -> KMostInfluentialResults:
        k = min(k, len(self._vectors))
        if not k:
            empty = queries.new_empty(len(queries), 0)
            return KMostInfluentialResults(empty.long(), empty)
        # The lowest products of a vector are the highest of its opposite.
        sign = 1 if proponents else -1
        indices, scores = self.nearest_neighbors.get_nearest_neighbors(sign * queries, k)
        return KMostInfluentialResults(indices.to(torch.int64), sign * scores)

    def _stream(
        self,
        question: Question | None,
        sink: Callable[[], AnySink],
        *,
        bounded: bool,
        show_progress: bool,
    ) -> AnySink:
        filled = sink()
        if question is None:
            filled.add(0, self._self_influence()[None])
            return filled
        data, _ = query_batches(question.task, question.batch)
        vectors = self._example_vectors
        of = vectors.summed if question.summed else vectors.of
        asked = of(data, question.task, kind="query", show_progress=show_progress)
        for start in range(0, len(self._vectors), _ROWS):
            filled.add(start, asked @ self._vectors[start : start + _ROWS].mT)
        return filled

    def _query_vectors(
        self, inputs: tuple[Any, ...], targets: Any, show_progress: bool
    ) -> Float[Tensor, "Q D"]:
        task, batch = self._query_task(inputs, targets)
        data, _ = query_batches(task, batch)
        return self._example_vectors.of(data, task, kind="query", show_progress=show_progress)
