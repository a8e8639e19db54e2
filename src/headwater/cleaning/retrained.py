"""What cleaning did to held-out accuracy: trained on the set as it was, and on the cleaned one."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from tqdm.auto import tqdm

from headwater.capture import borrowed, eager
from headwater.cleaning.labels import labels_of
from headwater.cleaning.outputs import Outputs
from headwater.engine import TrainingData
from headwater.errors import InputError
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headwater.tasks import Task

_BATCH = 128


@dataclass(frozen=True)
class Retrained:
    """Held-out accuracies, from 0 to 1, one per seed.

    Attributes:
        seeds: which.
        before: of models trained on the set as it was.
        after: of models trained with the same seeds on the cleaned set.
    """

    seeds: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]

    @property
    def gains(self) -> tuple[float, ...]:
        """After less before, seed by seed."""
        return tuple(b - a for a, b in zip(self.before, self.after, strict=True))

    def __str__(self) -> str:
        better = sum(gain > 0 for gain in self.gains)
        seeds = len(self.seeds)
        lines = [
            f"held-out accuracy, mean and standard deviation of {seeds} "
            f"{'seed' if seeds == 1 else 'seeds'}:",
            f"  before   {_spread(self.before)}",
            f"  after    {_spread(self.after)}",
            f"  gain     {_spread(self.gains)}, above 0 with {better} of {seeds}",
        ]
        return "\n".join(lines)


def retrain(
    train: Callable[[Any, int], nn.Module],
    before: Any,
    after: Any,
    held_out: Any,
    *,
    task: Task,
    seeds: Sequence[int] = range(5),
    show_progress: bool = False,
) -> Retrained:
    """Held-out accuracy with and without cleaning, for several seeds.

    Args:
        train: `train(dataset, seed)` returns a model that it trained on the dataset.
        before: the training set as it was.
        after: the cleaned one, as `Cleaned.dataset` makes it.
        held_out: examples that no model is trained on, with labels that can be trusted.
        task: how a model reads a batch.
        seeds: with each of which both are trained.
        show_progress: whether a bar over trainings is shown, on stderr.

    Raises:
        InputError: `train` doesn't return a model, or the held-out set is empty.
    """
    if not seeds:
        raise InputError("seeds is empty; expected at least one")
    found: dict[str, list[float]] = {"before": [], "after": []}
    with tqdm(total=2 * len(seeds), desc="Training", disable=not show_progress) as bar:
        for seed in seeds:
            for name, dataset in (("before", before), ("after", after)):
                found[name].append(accuracy(_trained(train, dataset, seed), held_out, task=task))
                bar.update()
    return Retrained(tuple(seeds), tuple(found["before"]), tuple(found["after"]))


def accuracy(model: nn.Module, dataset: Any, *, task: Task) -> float:
    """The share of a dataset's examples of which the model's most likely class is the label.

    Raises:
        InputError: there are no examples, or the model isn't a classifier.
    """
    net = eager(model)
    data = TrainingData(dataset, "auto", lambda examples: task.collate(net, examples, None))
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    right = count = 0
    with borrowed(net), torch.no_grad():
        for batch in data.batches(data.batch_size or _BATCH):
            moved = borrow(batch, device)
            with Outputs(net) as outputs:
                size = len(task.own_losses(net, moved))
            predicted = outputs.log_probabilities(task, size).argmax(dim=1).cpu()
            right += int((predicted == labels_of(task, batch)).sum())
            count += size
    if not count:
        raise InputError("the held-out set is empty")
    return right / count


def _trained(train: Callable[[Any, int], nn.Module], dataset: Any, seed: int) -> nn.Module:
    model = train(dataset, seed)
    if not isinstance(model, nn.Module):
        raise InputError(
            f"train(dataset, seed) returned a {type(model).__name__}; expected the trained "
            f"torch.nn.Module"
        )
    return model


def _spread(values: Sequence[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return (
        f"{statistics.mean(values):+.4f} ± {spread:.4f}"
        if min(values) < 0
        else (f"{statistics.mean(values):.4f} ± {spread:.4f}")
    )
