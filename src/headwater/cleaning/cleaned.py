"""A training set after decisions were applied to it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from headwater.cleaning.decisions import Decisions, Label
from headwater.cleaning.fingerprint import fingerprint_of
from headwater.errors import DecisionsError, InputError
from headwater.files import replacing

if TYPE_CHECKING:
    from os import PathLike

_COLUMNS = ("index", "id", "label", "given_label")
_LABEL_NAMES = ("labels", "label", "label_ids")


@dataclass(frozen=True)
class Cleaned:
    """The index of a cleaned training set.

    Attributes:
        indices: the places of the examples that stay, ascending.
        labels: their labels now; None where it isn't known.
        given: their labels before.
        ids: their own names; None where they have none.
        dropped: the places of those that go.
        relabelled: the places of those that stay with another label.
    """

    indices: list[int]
    labels: list[Label | None]
    given: list[Label | None]
    ids: list[Any] | None
    dropped: list[int]
    relabelled: list[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        return (
            f"Cleaned(kept={len(self)}, relabelled={len(self.relabelled)}, "
            f"dropped={len(self.dropped)})"
        )

    def to_csv(self, path: str | PathLike[str]) -> None:
        """A row per example that stays: index, id, label, given_label; whole or not at all."""
        ids = self.indices if self.ids is None else self.ids
        with (
            replacing(Path(path)) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as f,
        ):
            writer = csv.writer(f)
            writer.writerow(_COLUMNS)
            writer.writerows(zip(self.indices, ids, self.labels, self.given, strict=True))

    def dataset(self, dataset: Any) -> CleanedDataset:
        """The examples that stay, with their labels, to train on.

        Args:
            dataset: the one that decisions were applied to. A relabelled row's last part, or of a
                dict "labels" or "label", becomes the new label in the type of the old.

        Raises:
            InputError: rows can't be picked from it.
        """
        return CleanedDataset(dataset, self)


class CleanedDataset(Dataset[Any]):
    """Some rows of a dataset, some of them under other labels; see `Cleaned.dataset`."""

    def __init__(self, dataset: Any, cleaned: Cleaned) -> None:
        rows = dataset.dataset if isinstance(dataset, DataLoader) else dataset
        if not hasattr(rows, "__getitem__"):
            raise InputError(
                f"rows can't be picked from a {type(dataset).__name__}; a cleaned set is made of a "
                f"Dataset with __getitem__"
            )
        self._rows = rows
        self._indices = cleaned.indices
        now = dict(zip(cleaned.indices, cleaned.labels, strict=True))
        self._changed = {place: now[place] for place in cleaned.relabelled}

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: int) -> Any:
        index = self._indices[place]
        row = self._rows[index]
        return _relabelled(row, self._changed[index]) if index in self._changed else row


def apply(
    decisions: Decisions | str | PathLike[str],
    dataset: Any = None,
    *,
    count: int | None = None,
    labels: Sequence[Label] | Tensor | None = None,
    ids: Sequence[Any] | None = None,
    new_labels: bool = False,
) -> Cleaned:
    """The index of the training set that decisions make.

    Examples without a decision are kept.

    Args:
        decisions: or the path of their file.
        dataset: the training data; its fingerprint is held against that of the decisions, and it
            says how many examples there are. None compares nothing.
        count: how many training examples there are, where `dataset` doesn't say it.
        labels: the given labels, one per example.
        ids: the examples' own names, one per example; decisions that have ids must agree.
        new_labels: whether a new label may be one that no example has so far.

    Raises:
        DecisionsError: they are of another data set, or one is about an example that there isn't,
            has another id, or a label that no example has.
        InputError: the number of examples isn't known, or columns have another length.
    """
    if not isinstance(decisions, Decisions):
        decisions = Decisions.read(decisions)
    count = _count(dataset, count, labels, ids)
    if dataset is not None:
        _refuse_other_data(decisions, dataset)
    given = _plain(labels) if labels is not None else [None] * count
    _refuse_misfits(decisions, count, given, ids, new_labels=new_labels)
    by_place = {one.index: one for one in decisions}
    verdicts = {place: one.decision for place, one in by_place.items()}
    kept = [place for place in range(count) if verdicts.get(place) != "drop"]
    now = [
        by_place[place].label if verdicts.get(place) == "relabel" else given[place]
        for place in kept
    ]
    return Cleaned(
        indices=kept,
        labels=now,
        given=[given[place] for place in kept],
        ids=None if ids is None else [ids[place] for place in kept],
        dropped=sorted(place for place in by_place if verdicts[place] == "drop"),
        relabelled=[
            place
            for place in kept
            if verdicts.get(place) == "relabel" and by_place[place].label != given[place]
        ],
    )


def _count(dataset: Any, count: int | None, labels: Any, ids: Any) -> int:
    known = {"count": count}
    known["labels"] = None if labels is None else len(labels)
    known["ids"] = None if ids is None else len(ids)
    if dataset is not None:
        rows = dataset.dataset if isinstance(dataset, DataLoader) else dataset
        known["dataset"] = len(rows) if hasattr(rows, "__len__") else None
    said = {name: number for name, number in known.items() if number is not None}
    if not said:
        raise InputError(
            "how many training examples there are isn't known; pass the dataset, labels or count"
        )
    if len(set(said.values())) > 1:
        differing = ", ".join(f"{name} has {number}" for name, number in said.items())
        raise InputError(f"the numbers of training examples differ: {differing}")
    return next(iter(said.values()))


def _refuse_other_data(decisions: Decisions, dataset: Any) -> None:
    if decisions.data is None:
        return
    own = fingerprint_of(dataset)
    if own != decisions.data:
        raise DecisionsError(
            f"the decisions are about another data set: theirs has the fingerprint "
            f"{decisions.data[:12]}..., this one {own[:12]}... (its size, or one of 16 examples or "
            f"their labels, differs; also if they were applied to it already). Apply them to the "
            f"data they were made on, in the same order"
        )


def _refuse_misfits(
    decisions: Decisions,
    count: int,
    given: Sequence[Label | None],
    ids: Sequence[Any] | None,
    *,
    new_labels: bool,
) -> None:
    known = set(given) - {None}
    for one in decisions:
        if one.index >= count:
            raise DecisionsError(
                f"there is a decision about example {one.index}, and the data has {count} "
                f"examples, 0 to {count - 1}; are the decisions about this data set?"
            )
        # Texts and numbers that look alike are: CSV files don't tell them apart.
        if ids is not None and one.id is not None and str(ids[one.index]) != str(one.id):
            raise DecisionsError(
                f"the decision about example {one.index} has the id {one.id!r}, and that example's "
                f"is {ids[one.index]!r}; the data is another, or in another order"
            )
        if one.decision == "relabel" and known and one.label not in known and not new_labels:
            shown = ", ".join(map(repr, sorted(known, key=str)[:10]))
            raise DecisionsError(
                f"the decision about example {one.index} gives it the label {one.label!r}, which "
                f"no example has; known are {shown}{' ...' if len(known) > 10 else ''}. If it is "
                f"meant, allow new labels"
            )


def _plain(labels: Any) -> list[Any]:
    values = labels.tolist() if callable(getattr(labels, "tolist", None)) else list(labels)
    return [int(one) if isinstance(one, float) and one.is_integer() else one for one in values]


def _relabelled(row: Any, label: Any) -> Any:
    if isinstance(row, Mapping):
        name = next((name for name in _LABEL_NAMES if name in row), None)
        if name is None:
            raise InputError(f"a row with {', '.join(map(repr, row))} has no labels to change")
        changed: MutableMapping[str, Any] = dict(row)
        changed[name] = _in_place_of(row[name], label)
        return changed
    if isinstance(row, (tuple, list)) and len(row) > 1:
        return type(row)([*row[:-1], _in_place_of(row[-1], label)])
    raise InputError(
        f"a row is a {type(row).__name__}; expected a tuple whose last part is the label, or a dict"
    )


def _in_place_of(old: Any, label: Any) -> Any:
    if isinstance(old, Tensor):
        return torch.full_like(old, label)
    return type(old)(label) if isinstance(old, (int, float, str)) else label
