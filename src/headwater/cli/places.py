"""Places as they are written in an option: `0:20`, `3,17,40:50`, `all`."""

from __future__ import annotations

from dataclasses import dataclass

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


def parsed_places(ctx: click.Context, param: click.Parameter, value: str) -> Places:
    """The callback of an option whose text says places.

    Raises:
        click.BadParameter: it doesn't.
    """
    if value == "all":
        return Places(())
    try:
        return Places(tuple(_range(part.strip()) for part in value.split(",")))
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} isn't understood; expected places from 0, as in 7 or 0:20 (20 not among "
            f"them) or 3,17,40:50, or all"
        ) from error


def _range(text: str) -> tuple[int, int | None]:
    start, colon, stop = text.partition(":")
    first = int(start) if start or not colon else 0
    last = first + 1 if not colon else int(stop) if stop else None
    if first < 0 or (last is not None and last < 0):
        raise ValueError(text)
    return first, last
