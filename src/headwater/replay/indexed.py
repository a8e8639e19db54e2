"""A dataset whose examples come with their places."""

from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset


class Indexed(Dataset[tuple[int, Any]]):
    """The same examples, each as `(place, example)`, so that a loop knows what its batches hold.

        for places, (inputs, targets) in DataLoader(Indexed(dataset), batch_size=32, shuffle=True):
            recorder.batch(places)

    With a `collate_fn` of one's own, places and examples come as a list of pairs.

    Args:
        dataset: the examples.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int) -> tuple[int, Any]:
        return place, self.dataset[place]
