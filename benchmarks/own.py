"""headwater's own estimators, as they are measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.utils.data import TensorDataset

from benchmarks.answering import Answering
from benchmarks.workloads import cross_entropy
from headwater import TracInCP, TracInCPFast, TracInCPFastRandProj
from headwater.tasks import Autocast

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from torch import Tensor

    from benchmarks.workloads import Case

PROJECTED_TO = 256


def estimator(
    case: Case,
    *,
    layers: list[str] | None = None,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
) -> TracInCP | TracInCPFast:
    """The estimator for the case: of all layers, of its final layer, or of those named."""
    workload = case.workload
    options = {"loss_fn": loss_fn, "batch_size": "auto"}
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


class UnderAutocast(Exact):
    """TracInCP of a model in float32, its passes under bfloat16 autocast."""

    def __init__(self, case: Case, batch_size: int | None) -> None:
        Answering.__init__(self, case, batch_size)
        self._estimator = TracInCP(
            case.workload.build(),
            TensorDataset(*case.training),
            list(zip(case.states, case.workload.rates, strict=True)),
            task=Autocast(cross_entropy),
            batch_size="auto",
        )

    @classmethod
    def differs(cls, case: Case) -> str | None:
        return "passes under bfloat16 autocast"

    def all_scores(self) -> Tensor:
        scores: Tensor = self._estimator.influence(self.case.queries)  # type: ignore[assignment]
        return scores

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        found = self._estimator.influence(self.case.queries, k=k)
        return found.indices, found.influence_scores  # type: ignore[union-attr, return-value]


class InBfloat16(Exact):
    """TracInCP of a model, checkpoints and data in bfloat16."""

    def __init__(self, case: Case, batch_size: int | None) -> None:
        halved = replace(
            case,
            workload=replace(case.workload, build=lambda: case.workload.build().bfloat16()),
            states=[{name: _halved(part) for name, part in each.items()} for each in case.states],
            training=tuple(map(_halved, case.training)),
            queries=tuple(map(_halved, case.queries)),
        )
        Answering.__init__(self, halved, batch_size)
        self._estimator = estimator(halved, loss_fn=_in_float32)

    @classmethod
    def differs(cls, case: Case) -> str | None:
        return "model and data in bfloat16"


def _in_float32(predictions: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(predictions.float(), targets)


def _halved(tensor: Tensor) -> Tensor:
    return tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor


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
