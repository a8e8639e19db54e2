"""What is known of the queries, or of the training examples, besides their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from headwater.errors import InputError

Entries: TypeAlias = "np.ndarray | list[str | None]"
"""A column for a table: numbers as an array, or else texts."""

ID = "id"
INDEX = "index"
# What tables have columns of their own for.
_RESERVED = frozenset(
    {INDEX, "exact", "query", "rank", "score", "self_influence", "side", "group_size"}
)


class Names:
    """Ids along one axis of the scores, and whatever else is known of each entry, by column.

    Args:
        kind: what an entry is called in messages: "query", "training example", or "group".
        columns: of equal length; "id" holds the ids, all different.
        count: how many entries there are, where it is known; None takes what is given.
        id_name: what the ids are called in tables.
        indexed: whether an entry's place is in tables too.

    Raises:
        InputError: a column has another length, or the name of one that tables have anyway; or
            two entries have one id.
    """

    def __init__(
        self,
        kind: str,
        columns: Mapping[str, Any],
        count: int | None = None,
        *,
        id_name: str = ID,
        indexed: bool = False,
    ) -> None:
        self.kind = kind
        self.columns = {name: as_list(column, name, kind) for name, column in columns.items()}
        self.count = count
        self.id_name = id_name
        self.indexed = indexed
        self._tables: dict[str, Entries] = {}
        for name, column in self.columns.items():
            if self.count is None:
                self.count = len(column)
            if len(column) != self.count:
                raise InputError(
                    f"column {name!r} of the {plural(kind)} has {len(column)} entries for "
                    f"{self.count} {plural(kind)}; give one per {kind}"
                )
        taken = [name for name in self.columns if kind != "group" and _is_reserved(name)]
        if taken:
            raise InputError(
                f"column {min(taken)!r} of the {plural(kind)} has a name that tables of results "
                f"have a column of their own for; call it otherwise"
            )
        ids = self.columns.get(ID)
        if ids is not None and len(set(ids)) < len(ids):
            twice = next(one for place, one in enumerate(ids) if one in ids[:place])
            raise InputError(
                f"two of the {plural(kind)} have the id {twice!r}; every {kind} needs its own"
            )

    @property
    def has_ids(self) -> bool:
        """Whether ids were given; without, an entry's place is its id."""
        return ID in self.columns

    @property
    def others(self) -> list[str]:
        """The names of the columns other than the ids."""
        return [name for name in self.columns if name != ID]

    def id(self, place: int) -> Any:
        """The id of the entry at a place."""
        return self.columns[ID][place] if ID in self.columns else place

    def table(self, places: Sequence[int] | range) -> dict[str, Entries]:
        """The entries in some places, by column: ids, places, and whatever else is known."""
        chosen = np.array(places, dtype=np.int64)
        found: dict[str, Entries] = {self.id_name: chosen}
        if self.has_ids:
            found[self.id_name] = _taken(self._entries(ID), chosen)
        if self.indexed:
            found[INDEX] = chosen
        for name in self.others:
            found[name] = _taken(self._entries(name), chosen)
        return found

    def _entries(self, name: str) -> Entries:
        if name not in self._tables:
            self._tables[name] = _as_entries(self.columns[name])
        return self._tables[name]

    def column(self, by: str | Sequence[Any]) -> list[Any]:
        """A column, by its name or as it is.

        Raises:
            InputError: there is none of that name, or it has another length.
        """
        if not isinstance(by, str):
            return Names(self.kind, {"by": by}, self.count).columns["by"]
        if by not in self.columns:
            known = ", ".join(repr(name) for name in self.columns) or "none"
            raise InputError(
                f"there is no column {by!r} of the {plural(self.kind)}; known: {known}"
            )
        return self.columns[by]

    def refuse_other_count(self, count: int) -> None:
        """Raises InputError where there turned out to be another number of entries."""
        if self.columns and count != self.count:
            name = next(iter(self.columns))
            raise InputError(
                f"column {name!r} of the {plural(self.kind)} has {self.count} entries for {count} "
                f"{plural(self.kind)}; give one per {self.kind}"
            )

    def joined(self, ids: Sequence[Any]) -> Names:
        """The same columns for the entries of these ids, in their order.

        Raises:
            InputError: one of the ids isn't among the entries.
        """
        if not self.columns:
            return Names(self.kind, {ID: ids}, indexed=self.indexed)
        places = {self.id(place): place for place in range(self.count or 0)}
        missing = next((one for one in ids if one not in places), None)
        if missing is not None:
            raise InputError(
                f"the store has a {self.kind} with the id {missing!r}, which isn't among the "
                f"{self.count} ids that columns are given for; give the column 'id', with the "
                f"store's ids among its entries"
            )
        order = [places[one] for one in ids]
        others = {name: [self.columns[name][place] for place in order] for name in self.others}
        return Names(self.kind, {ID: ids, **others}, indexed=self.indexed)


def grouped(column: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """A column's different values, in order of first appearance, and by entry its value's place."""
    places: dict[Any, int] = {}
    of_each = [places.setdefault(value, len(places)) for value in column]
    return list(places), of_each


def as_list(column: Any, name: str, kind: str) -> list[Any]:
    """A column's entries as plain Python values.

    Raises:
        InputError: it is no list, tensor, array or series of numbers, texts or None.
    """
    values = column.tolist() if callable(getattr(column, "tolist", None)) else column
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise InputError(
            f"column {name!r} of the {plural(kind)} is a {type(column).__name__}; expected a list, "
            f"tensor or array with one entry per {kind}"
        )
    entries = [_scalar(value) for value in values]
    odd = next((x for x in entries if not isinstance(x, (str, int, float, type(None)))), None)
    if odd is not None:
        raise InputError(
            f"column {name!r} of the {plural(kind)} has an entry of type {type(odd).__name__}; "
            f"expected texts, numbers or None"
        )
    return entries


def _is_reserved(name: str) -> bool:
    return name in _RESERVED or name.startswith(("query_", "score_"))


def _taken(entries: Entries, places: np.ndarray) -> Entries:
    if isinstance(entries, list):
        return [entries[place] for place in places.tolist()]
    taken: np.ndarray = entries[places]
    return taken


def _as_entries(column: list[Any]) -> Entries:
    kinds = {type(value) for value in column}
    # Of one type over all rows, whichever of them are written first.
    if kinds and kinds <= {bool, int} and max(map(abs, column)) < 2**63:
        return np.array(column, dtype=bool if kinds == {bool} else np.int64)
    if kinds & {int, float} and kinds <= {bool, int, float, type(None)}:
        return np.array([np.nan if x is None else x for x in column], dtype=np.float64)
    return [None if value is None else str(value) for value in column]


def plural(kind: str) -> str:
    """The kind's name for several."""
    return "queries" if kind == "query" else f"{kind}s"


def _scalar(value: Any) -> Any:
    # A 0-d tensor or a numpy scalar, of which lists are sometimes made.
    return value.item() if callable(getattr(value, "item", None)) else value
