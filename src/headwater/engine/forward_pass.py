"""Forward passes alone: whatever a model says of examples at every checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from headwater.capture.borrowed import evaluate
from headwater.engine.batch_size import taken_by_an_example
from headwater.engine.halving import Halving
from headwater.engine.noted import noted_batch
from headwater.tasks.batch import borrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from headwater.checkpoints import BoundSeries
    from headwater.engine.training_data import TrainingData
    from headwater.tasks import Task

# Examples on which the size of a batch is measured.
_SAMPLE = 4


class ForwardPass:
    """Passes over training examples without gradients.

    Args:
        model: the borrowed model.
        series: the checkpoints.
        data: the training examples.
        task: tells how many examples fit a batch.
        budget: bytes that a batch may take at the most.
        name: of the progress bar.
        show_progress: whether there is one.
    """

    def __init__(
        self,
        model: nn.Module,
        series: BoundSeries,
        data: TrainingData,
        task: Task,
        *,
        budget: int,
        name: str,
        show_progress: bool,
    ) -> None:
        self._model = model
        self._series = series
        self._data = data
        self._task = task
        self._budget = budget
        self._name = name
        self._show_progress = show_progress
        self._halving = Halving()
        self._device = next(model.parameters()).device

    def checkpoints(self) -> Iterator[float]:
        """Loads one checkpoint after the other, in eval mode; yields its weight."""
        for loaded in self._series.visit():
            evaluate(self._model)
            yield loaded.rate

    def rows(self, read: Callable[[Any], Tensor]) -> Iterator[tuple[int, Tensor]]:
        """What is read of each batch at present weights, with the index of its first example.

        Args:
            read: from a batch, on the model's device, to a row per example.
        """
        size = self._batch_size()
        start = 0
        total = self._data.number_of_batches(size)
        batches = tqdm(
            self._data.batches(size),
            desc=self._name,
            unit="batch",
            total=total,
            disable=not self._show_progress,
        )
        for batch in batches:
            with torch.no_grad(), noted_batch("training example", start):
                parts = self._halving.parts(
                    lambda part, _: read(part),
                    self._task,
                    borrow(batch, self._device),
                    first=start,
                    kind="training example",
                    may_be_cut=True,
                )
            found = parts[0] if len(parts) == 1 else torch.cat(parts)
            yield start, found
            start += len(found)

    def _batch_size(self) -> int:
        if self._data.batch_size is not None:
            return self._data.batch_size
        sample = self._data.sample(_SAMPLE)
        if sample is None:
            return 1

        def fitting(batch: Any) -> int:
            taken = taken_by_an_example(self._task, self._model, batch)
            return taken.fitting(extra_numbers=0, budget=self._budget)

        def fewer(count: int) -> Any:
            return borrow(self._data.sample(count), self._device)

        with noted_batch("training example", 0):
            _, size = self._halving.beginning(
                fitting,
                fewer,
                self._task,
                borrow(sample, self._device),
                kind="training example",
            )
        return size
