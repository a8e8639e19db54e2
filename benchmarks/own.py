"""headwater's own estimators, as they are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.utils.data import TensorDataset

from benchmarks.answering import Answering
from benchmarks.workloads import cross_entropy
from headwater import TracInCP, TracInCPFast, TracInCPFastRandProj

if TYPE_CHECKING:
    from typing import ClassVar

    from torch import Tensor

    from benchmarks.workloads import Case

PROJECTED_TO = 256


def estimator(case: Case, *, layers: list[str] | None = None) -> TracInCP | TracInCPFast:
    """The estimator for the case: of all layers, of its final layer, or of those named."""
    workload = case.workload
    options = {"loss_fn": cross_entropy, "batch_size": "auto"}
    data = TensorDataset(*case.training)
    checkpoints = list(zip(case.states, workload.rates, strict=True))
    if layers is not None:
        return TracInCP(workload.build(), data, checkpoints, layers=layers, **options)  # type: ignore[arg-type]
    if workload.final_layer is None:
        return TracInCP(workload.build(), data, checkpoints, **options)  # type: ignore[arg-type]
    return TracInCPFast(
        workload.build(), workload.final_layer, data, checkpoints, **options  # type: ignore[arg-type]
    )  # fmt: skip


class Exact(Answering):
    """TracInCP, or TracInCPFast where only the final layer counts."""

    sizes: ClassVar[tuple[int, ...]] = ()

    def __init__(self, case: Case, batch_size: int | None) -> None:
        super().__init__(case, batch_size)
        self._estimator = estimator(case)

    def all_scores(self) -> Tensor:
        scores: Tensor = self._estimator.influence(*self.case.queries)  # type: ignore[assignment]
        return scores

    def self_influence(self) -> Tensor:
        scores: Tensor = self._estimator.influence()  # type: ignore[assignment]
        return scores

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        found = self._estimator.influence(*self.case.queries, k=k)
        return found.indices, found.influence_scores  # type: ignore[union-attr, return-value]


class RandProj(Answering):
    """TracInCPFastRandProj, its constructor (which computes the vectors) and one answer."""

    sizes: ClassVar[tuple[int, ...]] = ()

    @classmethod
    def differs(cls, case: Case) -> str | None:
        return f"an estimate from {PROJECTED_TO} numbers per example"

    def _made(self) -> TracInCPFastRandProj:
        workload = self.case.workload
        assert workload.final_layer is not None
        return TracInCPFastRandProj(
            workload.build(),
            workload.final_layer,
            TensorDataset(*self.case.training),
            list(zip(self.case.states, workload.rates, strict=True)),
            loss_fn=cross_entropy,
            projection_dim=PROJECTED_TO,
        )

    def all_scores(self) -> Tensor:
        scores: Tensor = self._made().influence(*self.case.queries)  # type: ignore[assignment]
        return scores

    def self_influence(self) -> Tensor:
        scores: Tensor = self._made().influence()  # type: ignore[assignment]
        return scores

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        found = self._made().influence(*self.case.queries, k=k)
        return found.indices, found.influence_scores  # type: ignore[union-attr, return-value]
