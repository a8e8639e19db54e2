"""Captum's TracInCPFast and TracInCPFastRandProj: the final layer alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from captum.influence import TracInCPFast, TracInCPFastRandProj
from captum.influence._utils.nearest_neighbors import NearestNeighbors
from torch.utils.data import TensorDataset

from benchmarks.answering import Answering, NotOffered
from benchmarks.own import PROJECTED_TO
from benchmarks.peers.captum_tracin import checkpoints
from benchmarks.peers.losses import CrossEntropy

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from benchmarks.workloads import Case

# All queries go through the model again with every training batch, so large batches pay.
SIZES = (64, 128, 256, 512, 1024, 2048, 4096, 8192)


class ExactSearch(NearestNeighbors):
    """The largest dot products by one matrix product.

    In the place of Captum's default, which needs a package without wheels and is approximate.
    """

    def setup(self, data: Tensor) -> None:
        self._data = data

    def get_nearest_neighbors(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        found = torch.topk(query @ self._data.T, k, dim=1)
        return found.indices, found.values


class _FinalLayer(Answering):
    sizes: ClassVar[tuple[int, ...]] = SIZES
    holds_gradients: ClassVar[bool] = False

    @classmethod
    def covers(cls, case: Case) -> list[str] | None:
        return [f"{case.workload.final_layer}.weight"]

    @classmethod
    def differs(cls, case: Case) -> str | None:
        return "leaves out the layer's bias"

    def _arguments(self) -> dict[str, Any]:
        model = self.case.workload.build().eval()
        final = self.case.workload.final_layer
        assert final is not None
        return {
            "model": model,
            "final_fc_layer": model.get_submodule(final),
            "train_dataset": TensorDataset(*self.case.training),
            "loss_fn": CrossEntropy("sum"),
            "batch_size": self.batch_size,
            **checkpoints(self.case),
        }


class Fast(_FinalLayer):
    """TracInCPFast."""

    def __init__(self, case: Case, batch_size: int | None) -> None:
        super().__init__(case, batch_size)
        self._tracin = TracInCPFast(**self._arguments())

    def all_scores(self) -> Tensor:
        scores: Tensor = self._tracin.influence(self.case.queries)
        return scores

    def self_influence(self) -> Tensor:
        # Checkpoints outermost, so that each is loaded once.
        scores: Tensor = self._tracin.self_influence(outer_loop_by_checkpoints=True)
        return scores

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        found = self._tracin.influence(self.case.queries, k=k)
        return found.indices, found.influence_scores


class RandProj(_FinalLayer):
    """TracInCPFastRandProj, its constructor (which computes the vectors) and one answer."""

    @classmethod
    def differs(cls, case: Case) -> str | None:
        side = int(PROJECTED_TO**0.5)
        return (
            f"leaves out the layer's bias; an estimate from at most {side} x {side} numbers per "
            "checkpoint and example"
        )

    def _made(self) -> TracInCPFastRandProj:
        return TracInCPFastRandProj(
            **self._arguments(), nearest_neighbors=ExactSearch(), projection_dim=PROJECTED_TO
        )

    def all_scores(self) -> Tensor:
        scores: Tensor = self._made().influence(self.case.queries, k=None)
        return scores

    def self_influence(self) -> Tensor:
        raise NotOffered("raises NotImplementedError and refers to TracInCPFast")

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        found = self._made().influence(self.case.queries, k=k)
        return found.indices, found.influence_scores
