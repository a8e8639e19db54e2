"""The parts of an estimator whose scores are made of vectors, which a store can keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headwater.estimators.quantities import Quantities
from headwater.estimators.streamed import Streamed

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from headwater.checkpoints import BoundSeries
    from headwater.engine import TrainingData
    from headwater.estimators.vectors.scoring import VectorScoring
    from headwater.forms import Gradients, Projected
    from headwater.tasks import Task

    Map = Callable[[Gradients, int], Gradients]


@dataclass(frozen=True)
class VectorForm:
    """What the vectors of a method are, as far as a store's numbers depend on it.

    Attributes:
        method: the estimator's name.
        dim: how many numbers a vector has at one checkpoint.
        settings: the method's own, ready for JSON.
    """

    method: str
    dim: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> dict[str, Any]:
        """How a manifest says it."""
        return {
            "kind": "vectors",
            "method": self.method,
            "dim": self.dim,
            "settings": dict(self.settings),
        }

    @classmethod
    def from_name(cls, name: Mapping[str, Any]) -> VectorForm:
        """The form of which a manifest says this."""
        return cls(name["method"], name["dim"], name["settings"])

    def __repr__(self) -> str:
        said = [f"{key}={value!r}" for key, value in self.settings.items() if key != "steps"]
        return f"{self.method}({', '.join(said)})"


class VectorParts(Streamed):
    """Of each example a vector per checkpoint; and how scores are made of these.

    Args:
        vectors: what they are, for stores.
        training_map: `(gradients, checkpoint's place) -> gradients` of training examples, whose
            forms are `Materialised` alone.
        query_map: the same for queries.
        scoring: makes scores of them.
        net, selection, series, data, task, memory_budget, name: see `Streamed`.
    """

    def __init__(
        self,
        net: nn.Module,
        selection: tuple[str, ...],
        series: BoundSeries,
        data: TrainingData,
        task: Task,
        *,
        vectors: VectorForm,
        training_map: Map,
        query_map: Map,
        scoring: VectorScoring,
        memory_budget: int | str,
        name: str,
    ) -> None:
        super().__init__(
            net,
            selection,
            series,
            data,
            task,
            memory_budget=memory_budget,
            name=name,
            quantities=Quantities(plain=False),
        )
        self.vectors = vectors
        self.scoring = scoring
        self._training_map = training_map
        self._query_map = query_map

    def projection_for(self, kind: str) -> Map:
        return self._query_map if kind == "query" else self._training_map

    def with_data(self, data: TrainingData) -> VectorParts:
        return VectorParts(
            self.net,
            self.selection,
            self.series,
            data,
            self.task,
            vectors=self.vectors,
            training_map=self._training_map,
            query_map=self._query_map,
            scoring=self.scoring,
            memory_budget=self.memory_budget,
            name=self.name,
        )

    def with_form(self, form: Projected | None) -> VectorParts:
        # A method's vectors have one form.
        return self
