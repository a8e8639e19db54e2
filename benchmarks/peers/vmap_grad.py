"""What one writes oneself: gradients per example by `torch.func`, then matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.func import functional_call, grad, vmap

from benchmarks.answering import Answering
from benchmarks.workloads import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.workloads import Case, Examples

Gradients = dict[str, "Tensor"]


class VmapGrad(Answering):
    """`vmap(grad(loss))` of training batches, held against the queries' gradients in memory."""

    def __init__(self, case: Case, batch_size: int | None) -> None:
        super().__init__(case, batch_size)
        model = case.workload.build().eval()
        final = case.workload.final_layer
        self._names = [
            name
            for name, _ in model.named_parameters()
            if final is None or name.startswith(f"{final}.")
        ]

        def loss(selected: Gradients, rest: Gradients, inputs: Tensor, targets: Tensor) -> Tensor:
            predictions = functional_call(model, {**rest, **selected}, (inputs[None],))
            return cross_entropy(predictions, targets[None])[0]

        self._gradients = vmap(grad(loss), in_dims=(None, None, 0, 0))

    def _of(self, state: Gradients, examples: Examples) -> Gradients:
        selected = {name: state[name] for name in self._names}
        rest = {name: tensor for name, tensor in state.items() if name not in selected}
        found: Gradients = self._gradients(selected, rest, *examples)
        return {name: tensor.flatten(1) for name, tensor in found.items()}

    def _batches(self, examples: Examples) -> list[Examples]:
        size = self.batch_size or 1
        return list(zip(examples[0].split(size), examples[1].split(size), strict=True))

    def all_scores(self) -> Tensor:
        inputs, targets = self.case.training
        scores = torch.zeros(len(self.case.queries[1]), len(targets))
        for state, rate in zip(self.case.states, self.case.workload.rates, strict=True):
            parts = [self._of(state, batch) for batch in self._batches(self.case.queries)]
            queries = {name: torch.cat([part[name] for part in parts]) for name in self._names}
            start = 0
            for batch in self._batches((inputs, targets)):
                stop = start + len(batch[1])
                for name, gradients in self._of(state, batch).items():
                    scores[:, start:stop].addmm_(queries[name], gradients.T, alpha=rate)
                start = stop
        return scores

    def self_influence(self) -> Tensor:
        total = torch.zeros(len(self.case.training[1]))
        for state, rate in zip(self.case.states, self.case.workload.rates, strict=True):
            parts = [
                sum(tensor.square().sum(dim=1) for tensor in self._of(state, batch).values())
                for batch in self._batches(self.case.training)
            ]
            total += rate * torch.cat(parts)  # type: ignore[arg-type]
        return total

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        found = self.all_scores().topk(k)
        return found.indices, found.values
