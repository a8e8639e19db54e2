"""The labels of a batch of examples, of whatever kind the task reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwater.errors import InputError
from headwater.tasks.batch import describe

if TYPE_CHECKING:
    from jaxtyping import Int

    from headwater.engine import TrainingData
    from headwater.tasks import Task

_NAMES = ("labels", "label", "label_ids", "targets", "target")


def labels_of(task: Task, batch: Any) -> Int[Tensor, " B"]:
    """The class of every example of a batch, on the CPU.

    Args:
        task: what reads the batch; one with a `labels` attribute names their place.
        batch: a tuple or list whose last part are the labels, or a mapping.

    Raises:
        InputError: there are none, or they aren't one class per example.
    """
    found: Any = None
    if isinstance(batch, Mapping):
        names = (getattr(task, "labels", None), *_NAMES)
        found = next((batch[name] for name in names if name in batch), None)
    elif isinstance(batch, (tuple, list)) and len(batch) > 1:
        found = batch[-1]
    if not isinstance(found, Tensor):
        raise InputError(
            f"the labels in {describe(batch)} aren't found; pass labels=[...], one class per "
            f"training example"
        )
    labels = found.detach().cpu()
    if labels.dim() > 1 and labels.shape[1:].numel() == 1:
        labels = labels.reshape(-1)
    whole = not labels.is_floating_point() or bool((labels == labels.round()).all())
    if labels.dim() != 1 or not whole or labels.is_complex():
        raise InputError(
            f"the labels are a tensor of shape {tuple(labels.shape)} and type {labels.dtype}; "
            f"expected one class per example, whole numbers from 0: suspects are found in training "
            f"sets of single-label classifiers"
        )
    return labels.long()


def all_labels(task: Task, data: TrainingData) -> Int[Tensor, " N"]:
    """The classes of all training examples, by reading them once.

    Raises:
        InputError: see `labels_of`.
    """
    size = data.batch_size or 256
    found = [labels_of(task, batch) for batch in data.batches(size)]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)
