"""dattri's TracIn attributor with full gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from dattri.algorithm.tracin import TracInAttributor
from dattri.task import AttributionTask
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.answering import Answering, NotOffered
from benchmarks.workloads import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.workloads import Case


# Queries' gradients are computed again for every training batch, of which there should be few; of
# the queries themselves, this many at a time are about as fast as any.
QUERIES = 32


class TracIn(Answering):
    """`TracInAttributor` whose `weight_list` are the learning rates.

    Its constructor always sets a random projection to 512 numbers, which would make the scores
    estimates; the attribute is cleared, as its code provides for. That is the faster way too.
    """

    def __init__(self, case: Case, batch_size: int | None) -> None:
        super().__init__(case, batch_size)
        model = case.workload.build().eval()
        final = case.workload.final_layer

        def loss(parameters: dict[str, Tensor], example: tuple[Tensor, Tensor]) -> Tensor:
            inputs, targets = example
            predictions = functional_call(model, parameters, (inputs[None],))
            return cross_entropy(predictions, targets[None])[0]

        self._attributor = TracInAttributor(
            AttributionTask(loss_func=loss, model=model, checkpoints=case.states),
            weight_list=torch.tensor(case.workload.rates),
            normalized_grad=False,
            layer_name=None if final is None else [f"{final}.weight", f"{final}.bias"],
            device="cpu",
        )
        self._attributor.projector_kwargs = None
        self._training = DataLoader(TensorDataset(*case.training), batch_size=batch_size)
        self._queries = DataLoader(TensorDataset(*case.queries), batch_size=QUERIES)

    def all_scores(self) -> Tensor:
        scores: Tensor = self._attributor.attribute(self._training, self._queries)
        return scores.T

    def self_influence(self) -> Tensor:
        scores: Tensor = self._attributor.self_attribute(self._training)
        return scores

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        raise NotOffered("has no top-k: all scores, then torch.topk")
