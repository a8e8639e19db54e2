"""Options and arguments that several commands have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headwater.cli.output_file import parsed_out
from headwater.cli.places import Places, parsed_places
from headwater.store import is_url

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., Any]")


def attribution_file(function: Function) -> Function:
    """The argument that names the user's file."""
    return click.argument("attribution", metavar="ATTRIBUTION.PY", type=click.Path(path_type=Path))(
        function
    )


def store_folder(function: Function) -> Function:
    """The argument that names a store: its folder, or a URL."""
    return click.argument("store", metavar="STORE", type=_folder_or_url)(function)


def _folder_or_url(text: str) -> Path | str:
    return text if is_url(text) else Path(text)


def out(function: Function) -> Function:
    """`--out`."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path),
        callback=parsed_out,
        metavar="FILE",
        help="Write a table: .csv or .parquet, as its name ends.",
    )(function)


def as_json(function: Function) -> Function:
    """`--json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON for a script instead of text."
    )(function)


def progress(function: Function) -> Function:
    """`--progress` and `--no-progress`."""
    return click.option(
        "--progress/--no-progress",
        default=None,
        help="Show a bar on stderr; by default, if that is a terminal.",
        callback=lambda ctx, param, value: sys.stderr.isatty() if value is None else value,
    )(function)


def queries(default: str) -> Callable[[Function], Function]:
    """`--queries`.

    Args:
        default: which queries are taken without it.
    """
    return click.option(
        "--queries",
        callback=parsed_places,
        default=default,
        show_default=True,
        metavar="PLACES",
        help="Which examples of query_dataset(), from 0: 0:20, or 3,17,40:50, or all.",
    )


def top_of_queries(function: Function) -> Function:
    """The options that say what is wanted of scores with queries."""
    for option in reversed(
        [
            click.option(
                "--k",
                type=click.IntRange(min=1),
                metavar="N",
                default=10,
                show_default=True,
                help="How many training examples to name per query and side.",
            ),
            click.option(
                "--side",
                type=click.Choice(["proponents", "opponents", "both"]),
                default="both",
                show_default=True,
                help="The highest scores, the lowest, or both.",
            ),
            click.option(
                "--sum",
                "summed",
                is_flag=True,
                help="Add up over the queries: what drives all of them together?",
            ),
            click.option(
                "--by",
                metavar="COLUMN",
                help="Add up over training examples alike in a column of train_columns(), such as "
                "label or source.",
            ),
            click.option(
                "--all",
                "everything",
                is_flag=True,
                help="Write the score of every training example to --out, and name none.",
            ),
        ]
    ):
        function = option(function)
    return function


__all__ = [
    "Places",
    "as_json",
    "attribution_file",
    "out",
    "progress",
    "queries",
    "store_folder",
    "top_of_queries",
]
