"""The examples to ask about, some of which are picked by their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, IterableDataset, default_collate

from headwater.errors import AttributionFileError, InputError
from headwater.results.names import ID, Names

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Queries:
    """Some queries, as one batch.

    Attributes:
        batch: what a loader would yield of them.
        columns: what is known of them, by column; always their ids.
        count: how many they are, Q.
    """

    batch: Any
    columns: dict[str, Any]
    count: int

    def inputs(self, *, has_task: bool, has_loss: bool) -> dict[str, Any]:
        """The arguments `inputs` and `targets` of an estimator.

        Args:
            has_task: whether a task reads the batch.
            has_loss: whether the last part of the batch is what a loss compares with.
        """
        if has_task or not isinstance(self.batch, (tuple, list)):
            return {"inputs": self.batch}
        *inputs, targets = self.batch
        return {"inputs": tuple(inputs), "targets": targets if has_loss else None}


class QuerySet:
    """A Dataset, or the dataset and collate function of a DataLoader.

    Args:
        source: the Dataset or DataLoader.
        columns: what is known of the examples, by column.
        place: where the user defined it, for messages.

    Raises:
        AttributionFileError: examples can't be picked from it.
    """

    def __init__(self, source: Any, columns: dict[str, Any], place: str) -> None:
        is_loader = isinstance(source, DataLoader)
        self._dataset = source.dataset if is_loader else source
        self._collate = source.collate_fn if is_loader else default_collate
        if isinstance(self._dataset, IterableDataset) or not hasattr(self._dataset, "__getitem__"):
            raise AttributionFileError(
                f"{place}: query_dataset() returned a {type(self._dataset).__name__}, from which "
                f"examples can't be picked by their places; expected a Dataset with __getitem__ "
                f"and __len__"
            )
        self.count = len(self._dataset)
        self._names = Names("query", columns, self.count)

    def picked(self, places: Sequence[int]) -> Queries:
        """The queries in some places.

        Raises:
            InputError: there is no such place, or no place at all.
        """
        wrong = next((place for place in places if not 0 <= place < self.count), None)
        if wrong is not None:
            raise InputError(
                f"--queries asks for number {wrong}, and query_dataset() has {self.count} "
                f"examples, numbered from 0"
            )
        if not places:
            raise InputError("--queries names no query; expected at least one, such as 0:20")
        known = self._names
        columns: dict[str, Any] = {ID: [known.id(place) for place in places]}
        for name in known.others:
            columns[name] = [known.columns[name][place] for place in places]
        batch = self._collate([self._dataset[place] for place in places])
        return Queries(batch, columns, len(places))
