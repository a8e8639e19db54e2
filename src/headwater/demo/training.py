"""Plain SGD that leaves behind what TracIn needs: weights and learning rate, every few epochs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from tqdm import tqdm

from headwater.files import replacing

if TYPE_CHECKING:
    from headwater.demo.data import NoisyDigits
    from headwater.demo.settings import Settings


def train(model: nn.Module, data: NoisyDigits, settings: Settings, folder: Path) -> list[Path]:
    """Train the model in place and return the checkpoints written, in order of epoch.

    Args:
        model: Untrained.
        data: Trained on under the given labels, wrong ones included.
        settings: How long, how fast, and which epochs leave a checkpoint.
        folder: Receives `ckpt-{epoch}.pt`; checkpoints of earlier runs in it are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("ckpt-*.pt"):
        stale.unlink()

    # No momentum and no weight decay: TracIn's sum follows the steps of plain SGD.
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate)
    generator = torch.Generator().manual_seed(settings.training_seed)
    checkpoints = []
    epochs = tqdm(range(1, settings.epochs + 1), desc="Training", unit="epoch")
    for epoch in epochs:
        rate = learning_rate(epoch, settings)
        optimizer.param_groups[0]["lr"] = rate
        loss = _train_epoch(model, data, settings.batch_size, optimizer, generator)
        epochs.set_postfix(loss=f"{loss:.2f}", rate=f"{rate:.3f}")
        if epoch % settings.checkpoint_every == 0:
            checkpoints.append(save_checkpoint(folder / f"ckpt-{epoch}.pt", model, rate))
    return checkpoints


def learning_rate(epoch: int, settings: Settings) -> float:
    """Return the rate of an epoch (the first is 1): a straight line that would reach 0 at the end.

    The last epoch still has a rate of its own, one step above 0.
    """
    return settings.learning_rate * (settings.epochs - epoch + 1) / settings.epochs


def save_checkpoint(path: Path, model: nn.Module, rate: float) -> Path:
    """Write the weights and the learning rate that led to them, and return the path."""
    with replacing(path) as temporary:
        torch.save({"model": model.state_dict(), "learning_rate": rate}, temporary)
    return path


def load_checkpoint(path: Path, model: nn.Module) -> float:
    """Put a checkpoint's weights into the model and return its learning rate."""
    checkpoint = torch.load(path, weights_only=True)
    model.load_state_dict(checkpoint["model"])
    return float(checkpoint["learning_rate"])


def _train_epoch(
    model: nn.Module,
    data: NoisyDigits,
    batch_size: int,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> float:
    """Take one pass over the training images in random order; return the mean loss on the way."""
    total = 0.0
    order = torch.randperm(len(data.given_labels), generator=generator)
    for batch in order.split(batch_size):
        predictions = model(data.train_images[batch])
        loss = nn.functional.cross_entropy(predictions, data.given_labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(order)
