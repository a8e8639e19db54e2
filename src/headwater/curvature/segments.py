"""Training in segments, of a curvature each, and what later segments leave of earlier gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from headwater.curvature.block_inverse import Blocks
    from headwater.forms import Gradients


@dataclass(frozen=True)
class Segment:
    """Some updates in a row, through which curvature is taken as constant.

    Attributes:
        first, last: the places of its checkpoints, `last` among them.
        rate: the mean learning rate of its checkpoints, eta.
        updates: how many updates it has, K.
    """

    first: int
    last: int
    rate: float
    updates: float

    @property
    def size(self) -> int:
        """How many checkpoints it has."""
        return self.last - self.first + 1

    @property
    def time(self) -> float:
        """Eta K."""
        return self.rate * self.updates


def cut(checkpoints: int, segments: int) -> list[tuple[int, int]]:
    """The first and last places of runs of checkpoints, as equally long as they can be."""
    bounds = [segment * checkpoints // segments for segment in range(segments + 1)]
    return [(bounds[i], bounds[i + 1] - 1) for i in range(segments)]


@dataclass(frozen=True)
class SegmentCurvature:
    """A segment with the eigenvalues and eigenvectors of its mean curvature."""

    segment: Segment
    blocks: Blocks

    def gathered(self, gradients: Gradients) -> Gradients:
        """(1 - exp(-eta K sigma)) / sigma times the gradients: what its updates do, all together.

        Tends to eta K as sigma goes to zero, and to 1 / sigma as eta K grows.
        """
        return self.blocks.apply(
            self.blocks.aligned(gradients),
            {
                block: _gathered(spectrum.eigenvalues, self.segment.time)
                for block, spectrum in self.blocks.spectra.items()
            },
        )

    def left(self, gradients: Gradients) -> Gradients:
        """exp(-eta K sigma) times the gradients: what its updates leave of a change before them."""
        return self.blocks.apply(
            self.blocks.aligned(gradients),
            {
                block: torch.exp(-self.segment.time * spectrum.eigenvalues)
                for block, spectrum in self.blocks.spectra.items()
            },
        )


def _gathered(eigenvalues: Tensor, time: float) -> Tensor:
    decay = -torch.expm1(-time * eigenvalues)
    # Where a direction has no curvature, the limit.
    return torch.where(eigenvalues > 0, decay / eigenvalues, torch.full_like(eigenvalues, time))


def by_segment(queries: Gradients, curvatures: Sequence[SegmentCurvature]) -> list[Gradients]:
    """For every segment, what training gradients of its checkpoints are multiplied with.

    Args:
        queries: gradients at the end of training.
        curvatures: of the segments, in their order.
    """
    found: list[Gradients] = []
    for curvature in reversed(curvatures):
        found.append(curvature.gathered(queries))
        queries = curvature.left(queries)
    return found[::-1]
