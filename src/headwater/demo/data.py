"""Real images with some wrong labels: scikit-learn's digits, split and flipped by fixed seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from headwater.errors import MissingDependencyError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from headwater.demo.settings import Settings

N_CLASSES = 10


@dataclass(frozen=True)
class NoisyDigits:
    """Training images under labels of which some are wrong, and test images under true ones.

    Args:
        train_images: Grey values, 0 (paper) to 1 (ink).
        given_labels: What training sees.
        true_labels: What the training images really show; training never sees these.
        test_images: As `train_images`.
        test_labels: What the test images show.
    """

    train_images: Float[Tensor, "N 1 8 8"]
    given_labels: Int[Tensor, " N"]
    true_labels: Int[Tensor, " N"]
    test_images: Float[Tensor, "M 1 8 8"]
    test_labels: Int[Tensor, " M"]

    @property
    def flipped(self) -> Bool[Tensor, " N"]:
        """Which training examples carry a wrong label."""
        return self.given_labels != self.true_labels

    @property
    def train_set(self) -> TensorDataset:
        """The training set as training and attribution see it: images and given labels."""
        return TensorDataset(self.train_images, self.given_labels)


def noisy_digits(settings: Settings) -> NoisyDigits:
    """Return the digits, split and with part of the training labels flipped.

    Raises:
        MissingDependencyError: scikit-learn isn't installed.
    """
    images, labels = _digits()
    order = torch.randperm(len(images), generator=_generator(settings.split_seed))
    train, test = order[: settings.train_size], order[settings.train_size :]
    given = flip_labels(labels[train], settings.flipped_share, _generator(settings.flip_seed))
    return NoisyDigits(
        train_images=images[train],
        given_labels=given,
        true_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
    )


def flip_labels(
    labels: Int[Tensor, " N"], share: float, generator: torch.Generator
) -> Int[Tensor, " N"]:
    """Return the labels with a share of them changed, each to one of the other classes at random.

    Args:
        labels: Classes, 0 to 9; they stay as they are.
        share: Of the labels to change; rounded to a whole number of labels, and exactly that many.
        generator: Draws which labels change, and to what.
    """
    chosen = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    # An offset of 1 to 9 reaches every other class equally often, and never the same one.
    offsets = torch.randint(1, N_CLASSES, (len(chosen),), generator=generator)
    flipped = labels.clone()
    flipped[chosen] = (labels[chosen] + offsets) % N_CLASSES
    return flipped


def _digits() -> tuple[Float[Tensor, "A 1 8 8"], Int[Tensor, " A"]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependencyError(
            "the demo reads its images from scikit-learn, which isn't installed; "
            "install it with: pip install 'headwater[demo]'"
        ) from error
    digits = load_digits()
    images = torch.as_tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    return images, torch.as_tensor(digits.target, dtype=torch.int64)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
