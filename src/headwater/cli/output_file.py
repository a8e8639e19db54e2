"""The file that `--out` names: what can be written there, found out before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.launched import is_first
from headwater.errors import InputError
from headwater.files import refuse_unwritable as in_its_folder
from headwater.results import Scores
from headwater.results.optional import import_optional

if TYPE_CHECKING:
    from headwater.results import TopScores

SUFFIXES = (".csv", ".parquet")


def parsed_out(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """The callback of `--out`.

    Raises:
        click.BadParameter: the name doesn't say a format that is known.
    """
    if value is not None and value.suffix not in SUFFIXES:
        raise click.BadParameter(f"{str(value)!r} ends in neither .csv nor .parquet")
    return value


def refuse_unwritable(path: Path | None, *, option: str = "--out") -> None:
    """Raises an error where a file could not be written in the end.

    Args:
        path: the file's; None is none.
        option: which one names it.

    Raises:
        InputError: its folder doesn't exist or takes no files, or it is a folder.
        MissingDependencyError: pyarrow isn't installed.
    """
    if path is None or not is_first():
        return
    if not path.resolve().parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; make it first")
    try:
        in_its_folder(path)
    except InputError as error:
        raise InputError(f"{option} {error}") from None
    if path.suffix == ".parquet":
        import_optional("pyarrow", "writing Parquet")


def write(scores: Scores | TopScores, path: Path) -> None:
    """Writes a table in the format of the file's name; whole or not at all.

    Of several processes the first does; the others take part in computing what is streamed.
    """
    if not is_first():
        if isinstance(scores, Scores):
            scores.pass_over()
    elif path.suffix == ".csv":
        scores.to_csv(path)
    else:
        scores.to_parquet(path)
