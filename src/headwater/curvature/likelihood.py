"""Losses as negative log-likelihoods: random output gradients whose covariance is their curvature.

For a label y' drawn from the model's own distribution the gradient of -log p(y') at the output has
mean zero, and its covariance is the Hessian of the loss by the output. Factors of curvature made
from such gradients estimate the Gauss-Newton matrix; made from those of the true labels they don't.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from headwater.linalg import counter_uniform, widest

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Targets: TypeAlias = Callable[[Any], Tensor]
"""From a batch to its targets."""


class Likelihood(ABC):
    """The distribution over labels that a model's output stands for."""

    @abstractmethod
    def draw(
        self, outputs: Float[Tensor, "B ..."], batch: Any, index: Int[Tensor, " B"], seed: int
    ) -> Float[Tensor, "B ..."]:
        """A random gradient at each output, with the curvature of its example's loss as covariance.

        Args:
            outputs: the model's, without a graph.
            batch: what they are of; its labels say what counts and how much, and nothing else.
            index: the examples' places in the training data, which settle what is drawn.
            seed: another seed, other draws.
        """

    def product(
        self, outputs: Float[Tensor, "B ..."], batch: Any, vector: Float[Tensor, "B ..."]
    ) -> Float[Tensor, "B ..."] | None:
        """The curvature times a vector; None where the loss's own second derivative is that."""
        return None


@dataclass(frozen=True)
class Categorical(Likelihood):
    """Cross-entropy of classes along one axis of the output.

    Attributes:
        axis: the classes' axis: 1, or -1.
        targets: the true labels, or probabilities, of which only weights and `ignore_index` count.
        ignore_index: the label of a position without a loss.
        weight: of each class.
        label_smoothing: share of the uniform distribution in the targets.
        shift: how many positions lie between a label and the output that predicts it.
        averaged: whether an example's loss is a mean over its positions.
        log_probabilities: whether the output holds log-probabilities, of which nothing is left to
            be normalised.
    """

    axis: int = 1
    targets: Targets | None = None
    ignore_index: int | None = None
    weight: Float[Tensor, " K"] | None = None
    label_smoothing: float = 0.0
    shift: int = 0
    averaged: bool = False
    log_probabilities: bool = False

    def draw(self, outputs: Tensor, batch: Any, index: Tensor, seed: int) -> Tensor:
        by_class = outputs.movedim(self.axis, -1)
        flat = by_class.reshape(len(by_class), -1, by_class.shape[-1])
        probabilities = flat.exp() if self.log_probabilities else flat.softmax(dim=-1)
        positions = torch.arange(flat.shape[1], device=flat.device)
        # From the top, so that rounding of the sum can't lead past the last class.
        below = probabilities.to(widest(flat.device)).cumsum(dim=-1)
        drawn = counter_uniform(seed, index, positions)[..., None] * below[..., -1:]
        label = (below <= drawn).sum(dim=-1, keepdim=True)
        chosen = torch.arange(flat.shape[2], device=flat.device) == label
        gradient = -chosen.to(flat.dtype)
        if not self.log_probabilities:
            gradient = gradient + probabilities
        gradient = gradient * self._scale(flat, batch).sqrt()[..., None]
        return gradient.reshape(by_class.shape).movedim(-1, self.axis)

    def product(self, outputs: Tensor, batch: Any, vector: Tensor) -> Tensor | None:
        if not self.log_probabilities:
            return None
        by_class = outputs.movedim(self.axis, -1)
        flat = by_class.reshape(len(by_class), -1, by_class.shape[-1])
        scaled = flat.exp() * self._scale(flat, batch)[..., None]
        return scaled.reshape(by_class.shape).movedim(-1, self.axis) * vector

    def _scale(self, flat: Float[Tensor, "B S K"], batch: Any) -> Float[Tensor, "B S"]:
        """By how much a position's curvature counts."""
        each = 1.0 / flat.shape[1] if self.averaged else 1.0
        scale = flat.new_full(flat.shape[:2], each)
        if self.targets is None:
            return scale
        targets = self.targets(batch)
        weight = None if self.weight is None else self.weight.to(flat)
        if targets.is_floating_point():
            by_class = targets.movedim(self.axis, -1).reshape(flat.shape)
            if weight is not None:
                by_class = by_class * weight
            return scale * by_class.sum(dim=-1)
        labels = targets.reshape(len(flat), -1)
        if self.shift:
            last = labels.new_full((len(flat), self.shift), _NO_LABEL)
            labels = torch.cat([labels[:, self.shift :], last], dim=1)
        counted = labels != _NO_LABEL
        if self.ignore_index is not None:
            counted = counted & (labels != self.ignore_index)
        if weight is not None:
            smooth = self.label_smoothing
            own = weight[labels.clamp(min=0)]
            scale = scale * ((1 - smooth) * own + smooth * weight.mean())
        return scale * counted


_NO_LABEL = -(2**40)


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Binary cross-entropy of every number of the output, a logit.

    Attributes:
        targets: the true labels, which matter where positive ones weigh more.
        weight, pos_weight: as of `nn.BCEWithLogitsLoss`.
        averaged: whether an example's loss is a mean over its outputs.
    """

    targets: Targets | None = None
    weight: Tensor | None = None
    pos_weight: Tensor | None = None
    averaged: bool = False

    def draw(self, outputs: Tensor, batch: Any, index: Tensor, seed: int) -> Tensor:
        probabilities = outputs.sigmoid()
        uniform = _uniform_like(outputs, index, seed)
        label = (uniform < probabilities.to(uniform.dtype)).to(outputs.dtype)
        return (probabilities - label) * self._scale(outputs, batch).sqrt()

    def _scale(self, outputs: Tensor, batch: Any) -> Tensor:
        scale = outputs.new_full(outputs.shape, _share(outputs, averaged=self.averaged))
        if self.weight is not None:
            scale = scale * self.weight.to(outputs)
        if self.pos_weight is not None and self.targets is not None:
            labels = self.targets(batch).to(outputs).reshape(outputs.shape)
            scale = scale * (1 + (self.pos_weight.to(outputs) - 1) * labels)
        return scale


@dataclass(frozen=True)
class Gaussian(Likelihood):
    """Squared error of every number of the output, whose curvature is 2 everywhere.

    Attributes:
        averaged: whether an example's loss is a mean over its outputs.
    """

    averaged: bool = False

    def draw(self, outputs: Tensor, batch: Any, index: Tensor, seed: int) -> Tensor:
        normal = torch.special.ndtri(_uniform_like(outputs, index, seed))
        scale = math.sqrt(2 * _share(outputs, averaged=self.averaged))
        drawn: Tensor = (normal * scale).to(outputs.dtype)
        return drawn


def _share(outputs: Tensor, *, averaged: bool) -> float:
    return len(outputs) / max(1, outputs.numel()) if averaged else 1.0


def _uniform_like(outputs: Tensor, index: Tensor, seed: int) -> Tensor:
    each = outputs[0].numel() if outputs.dim() > 1 else 1
    columns = torch.arange(each, device=outputs.device)
    return counter_uniform(seed, index, columns).reshape(outputs.shape)
