"""What estimators that are made of gradients have in common, beyond TracIn's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from headwater.capture import eager, select
from headwater.checkpoints import count_of, default_checkpoints_load_func
from headwater.errors import InputError
from headwater.estimators.answered import Answered
from headwater.estimators.misplaced import refuse_no_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import nn

    from headwater.tasks import Task


class GradientOptions(TypedDict, total=False):
    """Arguments of every estimator that is made of gradients, by keyword; see `TracInCP`."""

    checkpoints_load_func: Callable[[nn.Module, Any], Any]
    layers: Iterable[str] | None
    loss_fn: Callable[..., Any] | None
    batch_size: int | Literal["auto"]
    sample_wise_grads_per_batch: bool
    task: Task | None
    memory_budget: int | str
    collate_fn: Callable[[list[Any]], Any] | None


class GradientEstimator(Answered):
    """An estimator over selected parameters, whose questions `_answers` answers.

    A subclass sets `_answers`, and `_no_self_influence` where that question has no sense.
    """

    # Why there is no self-influence; None where there is.
    _no_self_influence: str | None = None

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
        refuse_no_examples(influence_src_dataset, self._data.count)
        self._net = eager(model)
        self._selection = select(self._net, layers)

    @property
    def _batched_loss(self) -> bool:
        return self.sample_wise_grads_per_batch

    def _refuse_odd_arguments(self, inputs: Any, targets: Any, k: int | None) -> None:
        super()._refuse_odd_arguments(inputs, targets, k)
        if inputs is None and self._no_self_influence is not None:
            raise InputError(f"{self.get_name()} has no self-influence: {self._no_self_influence}")


def even_weights(
    checkpoints: Any, load_func: Callable[[nn.Module, Any], Any] | None
) -> list[float] | None:
    """One over the number of checkpoints, for each of them; None where there are none.

    Raises:
        InputError: they come from a generator, so that their number isn't known.
    """
    if checkpoints is None:
        return None
    own = load_func is not None and load_func is not default_checkpoints_load_func
    count = count_of(checkpoints, any_format=own)
    if count is None:
        raise InputError(
            "the checkpoints come from a generator, but each counts as one over their number; "
            "pass a list"
        )
    return [1 / count] * count
