"""Influence functions: what a training example's weight in the loss does to the trained model."""

from __future__ import annotations

import copy
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headwater.capture import borrowed, eager, select
from headwater.checkpoints import default_checkpoints_load_func
from headwater.curvature import (
    EKFAC,
    KFAC,
    Curvature,
    Inverse,
    PreconditionedScores,
    PreconditionedSelfInfluence,
    SummedPreconditionedScores,
    TrainingPass,
)
from headwater.distributed import present
from headwater.engine import memory_budget_bytes
from headwater.engine.fingerprint import weights_digest
from headwater.errors import InputError
from headwater.estimators.answered import Answered
from headwater.estimators.loss_name import loss_name
from headwater.estimators.misplaced import refuse_no_examples
from headwater.estimators.one_checkpoint import refuse_several_checkpoints
from headwater.estimators.quantities import Quantities
from headwater.estimators.store_place import names_store
from headwater.estimators.stored import GradientStore
from headwater.estimators.stored.preconditioned import StoredPreconditioned
from headwater.estimators.streamed import Streamed
from headwater.results import Wording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import nn
    from typing_extensions import Self

    from headwater.tasks import Task


class InfluenceFunction(Answered):
    """Influence through the curvature of the training loss, at the end of training.

        influence(q, n)   = <g_q, (G + damping)^-1 g_n>
        self_influence(n) = <g_n, (G + damping)^-1 g_n>

    G is the curvature of the mean training loss. Divided by N, a score estimates by how much the
    query's loss rises when n is left out and the model trained to its optimum again: positive for
    proponents.

    Curvature is fitted once, at the first question or by `fit`, and kept; it is fitted anew when
    the model's weights have changed since. It acts on the gradients of queries, so that the
    training examples' gradients are never written out for it.

    Args:
        influence_src_dataset: the training examples; or the folder that `store_gradients` made of
            them, beside factors on disk.
        loss_fn: `(predictions, targets) -> losses`: one per example, or their plain sum or mean,
            as `loss_fn.reduction` or else the shape of what it returns says.
        curvature: how G is estimated, with its damping: `EKFAC`, `KFAC`, `Exact`, `GaussNewtonCG`
            or `ASTRA`.
        layers: dotted names of the modules or parameters that count; None takes every parameter
            that requires grad.
        checkpoint: the trained model, if `model` isn't it: a path or a state dict.
        checkpoints_load_func: loads it into the model.
        model, batch_size, task, memory_budget, collate_fn: see `TracInCPBase`.

    Raises:
        SelectionError: `layers` has a name that the model doesn't have.
        InputError: an argument is of the wrong kind.

    Source: Koh and Liang (2017), arXiv 1703.04730, section 2; Gauss-Newton in place of the Hessian
    as in Grosse et al. (2023), arXiv 2308.03296.
    """

    _wording = Wording(
        formula=("influence(q, n) = <gradient of q, (curvature + damping)^-1 gradient of n>"),
        unit=(
            "that of the query's {measured}, times the number N of training examples: divided by "
            "N it estimates by how much the {measured} rises when the training example is "
            "left out and the model trained to its optimum again"
        ),
        own_formula="self_influence(n) = <gradient of n, (curvature + damping)^-1 gradient of n>",
        own_unit="that of the loss times N: as for a query, with the example itself as the query",
    )

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        loss_fn: Callable[..., Any] | None = None,
        *,
        curvature: Curvature | None = None,
        layers: Iterable[str] | None = None,
        checkpoint: Any = None,
        checkpoints_load_func: Callable[[nn.Module, Any], Any] = default_checkpoints_load_func,
        batch_size: int | Literal["auto"] = "auto",
        task: Task | None = None,
        memory_budget: int | str = "auto",
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        curvature = EKFAC() if curvature is None else curvature
        if not isinstance(curvature, Curvature):
            raise InputError(
                f"curvature is {curvature!r}; expected one of headwater's, such as EKFAC()"
            )
        if names_store(influence_src_dataset):
            _refuse_without_factors(curvature)
        # Others differentiate losses of many batches together, beyond what ranks do in step.
        self._takes_sharded = isinstance(curvature, (EKFAC, KFAC))
        super().__init__(
            model,
            influence_src_dataset,
            [checkpoint],
            _as_it_is if checkpoint is None else checkpoints_load_func,
            loss_fn,
            batch_size,
            # One checkpoint: its rate would scale all scores alike.
            learning_rates=[1.0],
            task=task,
            memory_budget=memory_budget,
            collate_fn=collate_fn,
        )
        refuse_no_examples(influence_src_dataset, self._data.count)
        self.curvature = curvature
        self.checkpoint = checkpoint
        self._selection = select(eager(model), layers)
        self._streamed = self._parts(
            Quantities(
                pairs=lambda queries: PreconditionedScores(self._inverse, queries),
                summed=lambda queries: SummedPreconditionedScores(self._inverse, queries),
                own=lambda: PreconditionedSelfInfluence(self._inverse),
                plain=False,
            )
        )
        self._fitted: tuple[str | None, Inverse] | None = None
        self._answers: Streamed | StoredPreconditioned = self._streamed
        if names_store(influence_src_dataset):
            path = Path(influence_src_dataset)
            plain = self._parts(Quantities())
            self._answers = StoredPreconditioned(path, plain, lambda: self._inverse)

    # Before the constructor, where Python itself would refuse a second `loss_fn` in its own words;
    # no wrapper around the constructor, through which warnings would not point at the caller.
    def __new__(cls, *arguments: Any, **keywords: Any) -> Self:
        refuse_several_checkpoints("InfluenceFunction", arguments, keywords)
        return super().__new__(cls)

    # The class's signature is the constructor's.
    update_wrapper(__new__, __init__, assigned=(), updated=())

    def _parts(self, quantities: Quantities) -> Streamed:
        return Streamed(
            eager(self.model),
            self._selection,
            self._series,
            self._data,
            self._loss_task,
            memory_budget=self.memory_budget,
            name=self.get_name(),
            quantities=quantities,
        )

    def fit(self, *, show_progress: bool = False) -> Self:
        """Estimates the curvature, if that of these weights isn't known yet.

        Args:
            show_progress: whether bars over the training batches are shown, on stderr.

        Raises:
            CurvatureError: the loss has no curvature of the kind asked for.
            LossError, CheckpointError, NonFiniteError, CaptureError: see `influence`.
        """
        parts = self._streamed
        digest = weights_digest(parts.net) if self.checkpoint is None else None
        if self._fitted is None or self._fitted[0] != digest:
            with borrowed(parts.net, in_step=self._takes_sharded):
                training = TrainingPass(
                    parts.net,
                    parts.selection,
                    parts.series,
                    parts.data,
                    parts.task,
                    budget=memory_budget_bytes(self.memory_budget),
                    loss=loss_name(parts.task),
                    name=self.get_name(),
                    show_progress=show_progress,
                    fingerprint=None if isinstance(self._answers, Streamed) else self._answers.data,
                )
                self._fitted = (digest, self.curvature.fit(training))
                ranks = present()
                if ranks is not None:
                    # What each rank fits by itself ends on some minutes before it does on others.
                    ranks.gathered_object(None)
        return self

    def store_gradients(
        self,
        path: str | Path,
        *,
        dtype: Literal["float64", "float32", "bfloat16", "float16"] = "float32",
        ids: Sequence[int | str] | None = None,
        show_progress: bool = False,
    ) -> None:
        """Keeps the training examples' gradients on disk, as they are before any curvature.

        Then `InfluenceFunction(model, path, ...)`, with a curvature whose factors are on disk too,
        answers from there without the training data, with every damping.

        Args:
            path: a folder, which is made; an interrupted build in it goes on.
            dtype, ids, show_progress: see `GradientStore.build`.

        Raises:
            StoreError: see `GradientStore.build`.
        """
        plain = copy.copy(self)
        plain._streamed = self._parts(Quantities())
        GradientStore.build(plain, path, dtype=dtype, ids=ids, show_progress=show_progress)

    @property
    def description(self) -> str:
        """How curvature was estimated and damped, and why so; after `fit` or a first question."""
        if self._fitted is None:
            return f"{self.curvature!r}, not fitted yet"
        return self._fitted[1].description

    @property
    def _inverse(self) -> Inverse:
        assert self._fitted is not None, "every question fits first"
        return self._fitted[1]

    @property
    def _batched_loss(self) -> None:
        return None

    def _prepare(self, asked: tuple[Task, Any] | None, *, show_progress: bool) -> None:
        self.fit(show_progress=show_progress)


def _refuse_without_factors(curvature: Curvature) -> None:
    """Raises InputError for a curvature that a store in place of the data isn't enough for."""
    if not isinstance(curvature, (EKFAC, KFAC)) or curvature.factors is None:
        raise InputError(
            f"a store stands in place of the training data, to which {type(curvature).__name__} "
            f"would be fitted; pass EKFAC(factors=...), the file of factors that were fitted "
            f"before, or the dataset"
        )
    if not Path(curvature.factors).exists():
        raise InputError(
            f"there is no file of factors at {curvature.factors}, and a store in place of the "
            f"training data to fit them to; fit them with the dataset first"
        )


def _as_it_is(model: nn.Module, checkpoint: None) -> float:
    """The present weights stay."""
    return 1.0
