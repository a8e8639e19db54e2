"""The contract of a curvature: fitted to training data once, its inverse applied to gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.curvature.training_pass import TrainingPass
    from headwater.forms import Gradients


class Inverse(ABC):
    """An inverse curvature T, fitted."""

    @abstractmethod
    def aligned(self, gradients: Gradients, checkpoint: int) -> Gradients:
        """The gradients in the blocks in which `solve` gives its own; for both sides of products.

        Args:
            gradients: as captured.
            checkpoint: the place of the checkpoint that they are of.
        """

    @abstractmethod
    def solve(self, gradients: Gradients) -> Gradients:
        """T g for every gradient g, written out.

        Args:
            gradients: as `aligned` gives them.
        """

    @abstractmethod
    def quadratic(self, gradients: Gradients) -> Float[Tensor, " B"]:
        """<g, T g> for every gradient g; argument as for `solve`."""

    @property
    @abstractmethod
    def numbers(self) -> int:
        """The length of one gradient that `solve` gives, P."""

    @property
    @abstractmethod
    def description(self) -> str:
        """How curvature was estimated and damped, layer by layer, and why so; for people."""


class Curvature(ABC):
    """A choice of curvature, with its settings."""

    @abstractmethod
    def fit(self, training: TrainingPass) -> Inverse:
        """The inverse for a model and its training data.

        Called while the model is borrowed.
        """
