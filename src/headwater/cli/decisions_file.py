"""Options that name a file of decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".json", ".csv")


def parsed_decisions(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """The callback of an option that names a file of decisions.

    Raises:
        click.BadParameter: the name doesn't say a format that is known.
    """
    if value is not None and value.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(f"{str(value)!r} ends in neither .json nor .csv")
    return value
