"""Places as they are written in an option: `0:20`, `3,17,40:50`, `all`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class Places:
    """Places among some examples.

    Attributes:
        ranges: from and to before; no end stands for the last. Empty for all.
    """

    ranges: tuple[tuple[int, int | None], ...]

    def of(self, count: int) -> list[int]:
        """The places among `count` examples, each once, in the order in which they are named."""
        if not self.ranges:
            return list(range(count))
        found: dict[int, None] = {}
        for start, stop in self.ranges:
            found.update(dict.fromkeys(range(start, count if stop is None else stop)))
        return list(found)


class PlacesParam(click.ParamType):
    """The text of `Places`."""

    name = "places"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Places:
        if isinstance(value, Places):
            return value
        if value == "all":
            return Places(())
        try:
            return Places(tuple(_range(part.strip()) for part in value.split(",")))
        except ValueError:
            self.fail(
                f"{value!r} isn't understood; expected places from 0, as in 7 or 0:20 (20 not "
                f"among them) or 3,17,40:50, or all",
                param,
                ctx,
            )


def _range(text: str) -> tuple[int, int | None]:
    start, colon, stop = text.partition(":")
    if not colon:
        return int(start), int(start) + 1
    first, last = int(start or 0), int(stop) if stop else None
    if first < 0 or (last is not None and last < 0):
        raise ValueError(text)
    return first, last
