"""Scores of other libraries, from files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from headwater.errors import InputError, NonFiniteError
from headwater.evaluation import scores_matrix
from headwater.results.optional import import_optional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

_SUFFIXES = (".npy", ".npz", ".csv", ".parquet")
_PREFIX = "score_"


def parsed_scores(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """The callback of `--scores NAME=FILE`.

    Raises:
        click.BadParameter: it isn't understood.
    """
    found: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not name or Path(path).suffix not in _SUFFIXES:
            raise click.BadParameter(
                f"{value!r} isn't understood; expected NAME=FILE, with a file that ends in "
                f"{', '.join(_SUFFIXES)}"
            )
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice")
        found[name] = Path(path)
    return found


def read_scores(
    path: Path, *, ids: Sequence[Any], query_ids: Sequence[Any]
) -> Float[Tensor, "Q N"]:
    """The scores in a file, in the order of the training examples and queries.

    .npy: an array (N, Q), a row per training example. .npz: the same as `scores`, with `ids` and
    `query_ids` where their order is another. .csv and .parquet: the table that `--all --out`
    writes, with a column `id` and a column `score_<query id>` per query.

    Args:
        path: the file.
        ids: the training examples' ids, in their order.
        query_ids: the queries', likewise.

    Raises:
        InputError: it isn't there, can't be read, or doesn't fit.
        NonFiniteError: a score is NaN or infinite.
    """
    if not path.is_file():
        raise InputError(f"--scores names {path}, and there is no such file")
    known: dict[str, Any] = {
        "queries": len(query_ids),
        "examples": len(ids),
        "expected_ids": ids,
        "expected_query_ids": query_ids,
        "axes": "NQ",
        "swapped": "transpose it: a file has a row per training example",
    }
    try:
        if path.suffix == ".npy":
            return scores_matrix(np.load(path, allow_pickle=False), **known)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                named = {key: file[key] for key in file.files}
            if "scores" not in named:
                raise InputError(f"it has the arrays {sorted(named)}; expected `scores`")
            return scores_matrix(
                named["scores"],
                ids=_listed(named.get("ids")),
                query_ids=_listed(named.get("query_ids")),
                **known,
            )
        rows_ids, columns = _table(path)
        # Texts on both sides: a table of CSV doesn't tell 7 from "7".
        known["expected_ids"] = [str(one) for one in ids]
        known["expected_query_ids"] = [str(one) for one in query_ids]
        matrix = np.stack([np.asarray(column, dtype=np.float64) for column in columns.values()], 1)
        return scores_matrix(matrix, ids=rows_ids, query_ids=list(columns), **known)
    except (InputError, ValueError, OSError) as error:
        raise InputError(f"--scores {path}: {error}") from error
    except NonFiniteError as error:
        raise NonFiniteError(f"--scores {path}: {error}") from error


def _listed(array: Any) -> list[Any] | None:
    return None if array is None else array.tolist()


def _table(path: Path) -> tuple[list[str], dict[str, list[Any]]]:
    """The ids of the rows, and by query id the column."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        named: dict[str, list[Any]] = {key: [row[key] for row in rows] for key in (rows or [{}])[0]}
    else:
        named = import_optional("pyarrow.parquet", "reading Parquet").read_table(path).to_pydict()
    columns = {
        name.removeprefix(_PREFIX): values
        for name, values in named.items()
        if name.startswith(_PREFIX)
    }
    if "id" not in named or not columns:
        raise InputError(
            f"it has the columns {json.dumps(list(named)[:5])}; expected `id`, and "
            f"`score_<query id>` for each query"
        )
    return [str(one) for one in named["id"]], columns
