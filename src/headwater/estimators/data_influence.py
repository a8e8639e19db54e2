"""The root of all estimators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from headwater.estimators.results import KMostInfluentialResults


class DataInfluence(ABC):
    """Something that says how much each training example influenced a prediction."""

    @abstractmethod
    def influence(self, inputs: Any = None, **kwargs: Any) -> Tensor | KMostInfluentialResults:
        """Influence scores of the training examples."""

    def get_name(self) -> str:
        """The class's name, as progress bars and reports show it."""
        return type(self).__name__
