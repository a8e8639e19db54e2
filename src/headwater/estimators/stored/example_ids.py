"""What the user calls the examples of a store: ids that can be, and those that can't."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from headwater.errors import InputError, StoreMismatchError


def refuse_odd_ids(
    ids: Sequence[int | str] | None, *, taken: frozenset[int | str], count: int | None
) -> None:
    """Raises InputError for ids that can't be those of new examples.

    Args:
        ids: the ids, or None to number the examples.
        taken: ids that are in the store already.
        count: the number of new examples, where it is known.
    """
    if ids is None:
        return
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Sequence):
        raise InputError(
            f"ids is of type {type(ids).__name__}; expected a list with a text or int per example "
            f"(list(...), or .tolist() of a tensor or an array)"
        )
    seen = set(taken)
    for one in ids:
        _refuse_odd_id(one)
        if one in seen:
            raise InputError(f"the id {one!r} is there already; every example needs its own")
        seen.add(one)
    if count is not None and len(ids) != count:
        raise InputError(f"ids has {len(ids)} entries for {count} examples")


def ids_to_delete(ids: Iterable[int | str]) -> list[int | str]:
    """The ids as a list.

    Raises:
        InputError: it is no iterable of ids: a single one, or a tensor, whose entries aren't ints.
    """
    if isinstance(ids, (str, bytes, Tensor)) or not isinstance(ids, Iterable):
        raise InputError(
            f"ids is {ids!r}; expected a list of ids, as in delete([5, 7]) or delete(['abc']) "
            f"(.tolist() of a tensor of ids)"
        )
    found = list(ids)
    for one in found:
        _refuse_odd_id(one)
    return found


def refuse_other_ids(
    stored: Sequence[int | str], ids: Sequence[int | str] | None, *, complete: bool
) -> None:
    """Raises StoreMismatchError where a build is given other ids than its store has.

    Args:
        stored: the ids in the store so far, in order.
        ids: of all examples, or None to number them; of a store that is complete, to take its own.
        complete: whether the build had ended.
    """
    if ids is None:
        if complete:
            return
        ids = range(len(stored))
    if complete and len(ids) != len(stored):
        where = f"{len(stored)} in the store and {len(ids)} here"
    else:
        pairs = enumerate(zip(stored, ids, strict=False))
        place = next((place for place, (old, new) in pairs if old != new), None)
        if place is None:
            return
        where = f"first at place {place}, {stored[place]!r} in the store and {ids[place]!r} here"
    raise StoreMismatchError(
        f"the store has other ids than the build is given, field 'ids': {where}. Give the ids it "
        f"was built with, or build another in a new folder"
    )


def _refuse_odd_id(one: Any) -> None:
    if not isinstance(one, (int, str)) or isinstance(one, bool):
        raise InputError(f"an id is {one!r}, a {type(one).__name__}; expected texts or ints")
