"""What one run of the demo found out; the terminal, the CSV files and the page all read this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.demo.data import NoisyDigits
    from headwater.demo.explain import Explanation
    from headwater.demo.ranking import Detection
    from headwater.demo.settings import Settings


@dataclass(frozen=True)
class Results:
    """The demo's findings.

    Args:
        settings: What the run was asked for.
        data: The images and labels.
        class_names: How to call class 0, 1, ...
        rates: Learning rate of each checkpoint.
        n_misclassified: Test images that the last checkpoint gets wrong.
        self_influence: Of each training example, over all checkpoints.
        mean_loss: Of each training example, averaged over the same checkpoints.
        detections: Ways of ranking the training set; self-influence comes first.
        explanations: Of the test images that were chosen.
    """

    settings: Settings
    data: NoisyDigits
    class_names: list[str]
    rates: list[float]
    n_misclassified: int
    self_influence: Float[Tensor, " N"]
    mean_loss: Float[Tensor, " N"]
    detections: list[Detection]
    explanations: list[Explanation]

    @property
    def accuracy(self) -> float:
        """The share of the test images that the last checkpoint gets right."""
        return 1 - self.n_misclassified / len(self.data.test_labels)
