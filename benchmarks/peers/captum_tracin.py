"""Captum's TracInCP: all layers, in its two ways of getting a gradient per example."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from captum.influence import TracInCP
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.answering import Answering
from benchmarks.peers.covered import parameters_of
from benchmarks.peers.losses import CrossEntropy

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from benchmarks.workloads import Case


def checkpoints(case: Case) -> dict[str, Any]:
    """Checkpoints in memory: what stands for one is its place in the case."""

    def load(model: nn.Module, place: int) -> float:
        model.load_state_dict(case.states[place])
        return case.workload.rates[place]

    return {"checkpoints": list(range(len(case.states))), "checkpoints_load_func": load}


class _TracIn(Answering):
    sample_wise: ClassVar[bool]

    def __init__(self, case: Case, batch_size: int | None) -> None:
        super().__init__(case, batch_size)
        self._tracin = TracInCP(
            case.workload.build().eval(),
            TensorDataset(*case.training),
            loss_fn=CrossEntropy("sum" if self.sample_wise else "none"),
            batch_size=batch_size,
            sample_wise_grads_per_batch=self.sample_wise,
            **checkpoints(case),
        )
        self._queries = DataLoader(TensorDataset(*case.queries), batch_size=batch_size)

    def all_scores(self) -> Tensor:
        scores: Tensor = self._tracin.influence(self._queries)
        return scores

    def self_influence(self) -> Tensor:
        # Checkpoints outermost, so that each is loaded once.
        scores: Tensor = self._tracin.self_influence(outer_loop_by_checkpoints=True)
        return scores

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        found = self._tracin.influence(self._queries, k=k)
        return found.indices, found.influence_scores


class SampleWise(_TracIn):
    """`sample_wise_grads_per_batch=True`: hooks on Linear and Conv2d, nothing else."""

    sample_wise: ClassVar[bool] = True

    @classmethod
    def covers(cls, case: Case) -> list[str] | None:
        return parameters_of(case.model, (nn.Linear, nn.Conv2d))

    @classmethod
    def differs(cls, case: Case) -> str | None:
        if cls.covers(case) is None:
            return None
        return "covers Linear and Conv2d modules only, and leaves the others out without a word"


class PerSample(_TracIn):
    """`sample_wise_grads_per_batch=False`: a backward pass per example, so batches of one."""

    sizes: ClassVar[tuple[int, ...]] = (1,)
    sample_wise: ClassVar[bool] = False
