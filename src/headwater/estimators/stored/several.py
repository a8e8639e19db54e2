"""Ranks that write one store: the first holds it and commits, all write shards."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from headwater.errors import InputError
from headwater.estimators.stored.beginning import begun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headwater.distributed import Together
    from headwater.store import Manifest, StoreFolder, Writer

# Longer facts are told by their digest: a message has to be read by someone.
_LONGEST = 80


@contextmanager
def writing(folder: StoreFolder, together: Together) -> Iterator[Writer]:
    """Within, the ranks alone may write; they enter and leave together.

    Raises:
        StoreLockedError: another process is writing.
        StoreWriteError: the folder can't be made.
    """
    if together.rank == 0:
        with folder.writing() as writer:
            together.told(None)
            yield writer
            # Nobody else may begin before every rank has let go of the folder.
            together.told(None)
    else:
        together.told(None)
        with folder.writing_shards(together.rank) as writer:
            yield writer
        together.told(None)


def refuse_other_bindings(together: Together, binding: Mapping[str, Any]) -> None:
    """Raises InputError where the ranks' estimators aren't the same.

    Losses are left out: they are computed, and may differ by rounding from host to host.
    """
    fields = {field: value for field, value in binding.items() if field != "losses"}
    together.same({f"the store's field {field!r}": fact(fields[field]) for field in fields})


def begun_by_first(
    together: Together,
    folder: StoreFolder,
    writer: Writer,
    binding: Mapping[str, Any],
    *,
    tolerance: float,
) -> Manifest:
    """The state that the first rank begins with; see `begun`.

    Raises:
        InputError: another rank doesn't see it.
    """
    own = begun(folder, writer, binding, tolerance=tolerance) if together.rank == 0 else None
    manifest: Manifest = together.agreed(own)
    if together.rank and not _sees(folder, manifest):
        raise InputError(
            f"the first rank builds a store that rank {together.rank} doesn't see in "
            f"{folder.path}; name one folder on every rank, on a file system that all share"
        )
    return manifest


def _sees(folder: StoreFolder, manifest: Manifest) -> bool:
    if not folder.exists():
        return False
    seen = folder.read_manifest()
    return seen.binding_digest == manifest.binding_digest and seen.shards == manifest.shards


def asked(what: str, *, ids: Sequence[int | str] | None, **facts: Any) -> dict[str, Any]:
    """What has to be the same on every rank that writes to a store.

    Args:
        what: is done.
        ids: of the examples.
        **facts: what else.
    """
    found = {"what is done": what, "ids": fact(None if ids is None else list(ids))}
    return found | {name.replace("_", " "): fact(value) for name, value in facts.items()}


def fact(value: Any) -> Any:
    """A value to be compared, in few characters."""
    said = json.dumps(value, sort_keys=True, default=str)
    return value if len(said) <= _LONGEST else hashlib.sha256(said.encode()).hexdigest()[:16]
