"""Methods that have no figures, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping


def failures_said(failures: Mapping[str, str], *, judged: int) -> list[str]:
    """A sentence for each method that failed.

    Args:
        failures: by title, the error's message.
        judged: how many others have figures.

    Raises:
        InputError: no other has any, so that there is no table.
    """
    said = [f"{title} failed: {why}" for title, why in failures.items()]
    if failures and not judged:
        which = "the method" if len(said) == 1 else f"each of the {len(said)} methods"
        raise InputError("\n".join([f"{which} failed, so there is no table.", *said]))
    return said
