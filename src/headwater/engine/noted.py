"""Whose examples an exception of the model's or the loss's own was raised for."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from headwater.capture import PlanChanged
from headwater.errors import RankError
from headwater.tasks.batch import shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

_SIGN = "headwater: raised for "


@contextmanager
def noted(examples: str, first: int | None = None, *, says: str = "") -> Iterator[None]:
    """Within, exceptions get a note saying for which examples; their type and text stay.

    Args:
        examples: what they are called, in the plural.
        first: the index of the first of the batch; None where there is one batch only.
        says: what else is known of them.
    """
    try:
        yield
    except (PlanChanged, RankError):
        # Of a rank's error that rank's examples are the ones.
        raise
    except Exception as error:
        # Python 3.10 has no notes, and does without.
        add_note: Callable[[str], None] | None = getattr(error, "add_note", None)
        notes: list[str] = getattr(error, "__notes__", [])
        # The innermost knows best.
        if add_note is not None and not any(note.startswith(_SIGN) for note in notes):
            add_note(f"{_SIGN}the {examples}{'' if first is None else f' from {first} on'}{says}")
        raise


def noted_batch(kind: str, first: int) -> AbstractContextManager[None]:
    """`noted` for a batch of the examples that messages call `kind`.

    Queries are mostly one batch, whose beginning says nothing.
    """
    return noted("queries" if kind == "query" else f"{kind}s", None if kind == "query" else first)


def noted_queries(queries: Any, training: Any | None) -> AbstractContextManager[None]:
    """`noted` for queries that the model sees for the first time: it may be their shape."""
    says = f", which are {shapes(queries)}"
    if training is not None:
        says += f"; a batch of training examples is {shapes(training)}"
    return noted("queries", says=says)
