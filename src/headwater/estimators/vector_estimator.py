"""What estimators that make a vector of every example have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.engine.gradient_pass import refuse_generator
from headwater.estimators.gradient_estimator import GradientEstimator
from headwater.estimators.store_place import names_store
from headwater.estimators.stored.binding import path_of
from headwater.estimators.stored.from_store import FromStore
from headwater.estimators.vectors import ComputedVectors, VectorAnswers, VectorForm, VectorParts

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from headwater.estimators.stored.from_store import Answering
    from headwater.estimators.vectors.parts import Map
    from headwater.estimators.vectors.scoring import VectorScoring


class VectorEstimator(GradientEstimator):
    """An estimator of `VectorParts`; answers from a store where it is given one."""

    _takes_sharded = True

    @property
    def _shapes(self) -> Mapping[str, torch.Size]:
        """The shape of every selected parameter."""
        parameters = dict(self._net.named_parameters())
        return {name: parameters[name].shape for name in self._selection}

    def _answering(
        self,
        *,
        numbers: int,
        settings: Mapping[str, Any],
        training_map: Map,
        query_map: Map,
        scoring: VectorScoring,
    ) -> Answering:
        """What answers; to be called at the end of the constructor.

        Args:
            numbers: how many numbers a vector has.
            settings, training_map, query_map, scoring: see `VectorParts` and `VectorForm`.
        """
        self._streamed = VectorParts(
            self._net,
            self._selection,
            self._series,
            self._data,
            self._loss_task,
            vectors=VectorForm(self.get_name(), numbers, settings),
            training_map=training_map,
            query_map=query_map,
            scoring=scoring,
            memory_budget=self.memory_budget,
            name=self.get_name(),
        )
        source = self.influence_src_dataset
        if names_store(source):
            none = self.checkpoints is None
            return FromStore(path_of(source), self._streamed, without_checkpoints=none)
        refuse_generator(self._series)
        return VectorAnswers(self._streamed, ComputedVectors(self._streamed), self._data.count)
