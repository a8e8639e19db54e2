"""kronfluence without a preconditioner: a pairwise score per checkpoint, weighed and summed."""

from __future__ import annotations

import logging
import tempfile
from typing import TYPE_CHECKING

import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch import nn
from torch.utils.data import TensorDataset

from benchmarks.answering import Answering, NotOffered
from benchmarks.peers.covered import modules_of, parameters_of
from benchmarks.workloads import cross_entropy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from benchmarks.workloads import Case

TYPES = (nn.Linear, nn.Conv2d)
FACTORS = "none"


class CrossEntropyTask(Task):
    """The workloads' loss, as what is trained on and as what is measured."""

    def __init__(self, modules: list[str]) -> None:
        self._modules = modules

    def compute_train_loss(
        self, batch: tuple[Tensor, Tensor], model: nn.Module, sample: bool = False
    ) -> Tensor:
        inputs, targets = batch
        return cross_entropy(model(inputs), targets).sum()

    def compute_measurement(self, batch: tuple[Tensor, Tensor], model: nn.Module) -> Tensor:
        return self.compute_train_loss(batch, model)

    def get_influence_tracked_modules(self) -> list[str]:
        return self._modules


class Identity(Answering):
    """Strategy "identity": nothing is fitted, scores are dot products of gradients.

    It knows one set of weights, so that checkpoints are loaded and asked one by one. Results pass
    through files, as they do for its users.
    """

    def __init__(self, case: Case, batch_size: int | None) -> None:
        super().__init__(case, batch_size)
        model = case.workload.build()
        # The wrapped model has other names for the same tensors.
        self._tensors = model.state_dict(keep_vars=True)
        final = case.workload.final_layer
        task = CrossEntropyTask(modules_of(case.model, TYPES) if final is None else [final])
        self._folder = tempfile.TemporaryDirectory()
        self._analyzer = Analyzer(
            analysis_name="benchmark",
            model=prepare_model(model, task),
            task=task,
            cpu=True,
            log_level=logging.ERROR,
            disable_tqdm=True,
            output_dir=self._folder.name,
        )
        self._training = TensorDataset(*case.training)
        self._queries = TensorDataset(*case.queries)
        self._analyzer.fit_all_factors(
            FACTORS, self._training, factor_args=FactorArguments(strategy="identity")
        )

    @classmethod
    def covers(cls, case: Case) -> list[str] | None:
        return None if case.workload.final_layer else parameters_of(case.model, TYPES)

    @classmethod
    def differs(cls, case: Case) -> str | None:
        return None if cls.covers(case) is None else "covers Linear and Conv2d modules only"

    def _loaded(self) -> Iterator[float]:
        for state, rate in zip(self.case.states, self.case.workload.rates, strict=True):
            with torch.no_grad():
                for name, tensor in self._tensors.items():
                    tensor.copy_(state[name])
            yield rate

    def all_scores(self) -> Tensor:
        total: Tensor | float = 0.0
        for rate in self._loaded():
            self._analyzer.compute_pairwise_scores(
                "pairs",
                FACTORS,
                query_dataset=self._queries,
                train_dataset=self._training,
                per_device_query_batch_size=len(self._queries),
                per_device_train_batch_size=self.batch_size,
                score_args=ScoreArguments(),
                overwrite_output_dir=True,
            )
            scores = self._analyzer.load_pairwise_scores("pairs")
            assert scores is not None
            total = total + rate * scores["all_modules"]
        assert isinstance(total, torch.Tensor)
        return total

    def self_influence(self) -> Tensor:
        total: Tensor | float = 0.0
        for rate in self._loaded():
            self._analyzer.compute_self_scores(
                "self",
                FACTORS,
                train_dataset=self._training,
                per_device_train_batch_size=self.batch_size,
                score_args=ScoreArguments(),
                overwrite_output_dir=True,
            )
            scores = self._analyzer.load_self_scores("self")
            assert scores is not None
            total = total + rate * scores["all_modules"]
        assert isinstance(total, torch.Tensor)
        return total

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        raise NotOffered("has no top-k: all scores, then torch.topk")
