"""Every choice that the demo makes, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The demo's choices; the defaults are what the README's picture shows.

    The learning rate, the epochs and the checkpoints were chosen on other seeds than these, and
    so that training is still under way at most checkpoints: once a flipped label is learnt by
    heart, its gradient is small and says little.

    Args:
        train_size: Training images, of 1,797 in all; the rest are test images.
        flipped_share: Share of the training labels that is flipped, 0 to 1.
        split_seed: Seed of the split into training and test images.
        flip_seed: Seed of the choice of labels to flip, and of what they become.
        training_seed: Seed of the initial weights and of the order of the batches.
        epochs: Passes over the training images.
        checkpoint_every: Epochs between two checkpoints.
        learning_rate: Of the first epoch; it falls linearly from there towards 0.
        batch_size: Images in one step of SGD.
        explained: Test images to explain.
        k: Proponents, and opponents, shown for each of them.
    """

    train_size: int = 1400
    flipped_share: float = 0.1
    split_seed: int = 0
    flip_seed: int = 1
    training_seed: int = 2
    epochs: int = 16
    checkpoint_every: int = 2
    learning_rate: float = 0.1
    batch_size: int = 32
    explained: int = 10
    k: int = 5
