"""What baselines that look at forward passes alone have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from headwater.capture import borrowed, eager
from headwater.engine import memory_budget_bytes
from headwater.engine.forward_pass import ForwardPass
from headwater.estimators.gradient_estimator import even_weights
from headwater.estimators.misplaced import refuse_no_examples, refuse_stored
from headwater.estimators.tracincp_base import TracInCPBase

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn
    from typing_extensions import Unpack

    from headwater.tasks import Task


class ForwardOptions(TypedDict, total=False):
    """Arguments of every baseline of forward passes, by keyword; see `TracInCP`."""

    checkpoints_load_func: Callable[[nn.Module, Any], Any]
    loss_fn: Callable[..., Any] | None
    batch_size: int | Literal["auto"]
    task: Task | None
    memory_budget: int | str
    collate_fn: Callable[[list[Any]], Any] | None


class ForwardEstimator(TracInCPBase):
    """A mean over checkpoints of what forward passes tell, all checkpoints alike."""

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        checkpoints: Any,
        **options: Unpack[ForwardOptions],
    ) -> None:
        refuse_stored(influence_src_dataset, self.get_name())
        super().__init__(
            model,
            influence_src_dataset,
            checkpoints,
            learning_rates=even_weights(checkpoints, options.get("checkpoints_load_func")),
            **options,
        )
        refuse_no_examples(influence_src_dataset, self._data.count)
        self._net = eager(model)

    def _mean(
        self, task: Task, told: Callable[[ForwardPass], Tensor], *, show_progress: bool
    ) -> Tensor:
        """The mean over checkpoints of what is told at each, on the CPU.

        Args:
            task: tells how many examples fit a batch.
            told: makes it of a pass, which stands at the checkpoint.
            show_progress: whether there is a bar.
        """
        total: Tensor | None = None
        with borrowed(self._net):
            passing = ForwardPass(
                self._net,
                self._series,
                self._data,
                task,
                budget=memory_budget_bytes(self.memory_budget) // 4,
                name=self.get_name(),
                show_progress=show_progress,
            )
            for weight in passing.checkpoints():
                part = weight * told(passing)
                total = part if total is None else total + part
        assert total is not None, "a series has at least one checkpoint"
        return total.cpu()
