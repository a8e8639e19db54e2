"""The strongest training examples of each query, with names and a meaning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from headwater.files import replacing
from headwater.results.names import ID
from headwater.results.writers import CsvWriter, FrameWriter, ParquetWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from headwater.query import Side
    from headwater.results.meaning import Meaning
    from headwater.results.names import Entries, Names
    from headwater.results.writers import Writer


class TopScores:
    """The k strongest training examples of each row of `Scores`, strongest first.

    Args:
        parts: by side, the examples' places in the training data and their scores, (R, K) each; an
            attribute too.
        meaning: formula, unit and sign of a score, and the estimator that computed it; an
            attribute too.
        queries: the rows' names; None for self-influence.
        examples: the training examples' names.
        exact: of a single side, which scores are exact where others are estimates.
    """

    def __init__(
        self,
        parts: Mapping[Side, tuple[Int[Tensor, "R K"], Float[Tensor, "R K"]]],
        meaning: Meaning,
        *,
        queries: Names | None,
        examples: Names,
        exact: Bool[Tensor, "R K"] | None = None,
    ) -> None:
        self.parts = parts
        self.meaning = meaning
        self._queries = queries
        self._examples = examples
        self._exact = exact

    def __repr__(self) -> str:
        sides = ", ".join(f"{side}={tuple(s.shape)}" for side, (_, s) in self.parts.items())
        return f"TopScores({self.meaning.quantity}, {sides})"

    def __len__(self) -> int:
        return sum(indices.numel() for indices, _ in self.parts.values())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One dict per row of the table, of plain Python values."""
        columns = {
            name: column if isinstance(column, list) else column.tolist()
            for name, column in self.table().items()
        }
        for entries in zip(*columns.values(), strict=True):
            yield dict(zip(columns, entries, strict=True))

    def table(self) -> dict[str, Entries]:
        """By column, a row for every example named: of query after query, side after side.

        Columns: `query` (its id) and `query_<name>` for what else is known of it, `side`, `rank`
        from 1; of the example its `id`, its `index` (its place in the training data) and what else
        is known of it; `score`, and whether it is `exact` where not all are. Of self-influence
        `rank`, the example, and `self_influence`.
        """
        first = next(iter(self.parts.values()))[0]
        rows = len(first)
        widths = [indices.shape[1] for indices, _ in self.parts.values()]
        places = torch.cat([indices for indices, _ in self.parts.values()], dim=1).flatten()
        scores = torch.cat([values for _, values in self.parts.values()], dim=1).flatten()
        ranks = np.tile(np.concatenate([np.arange(1, width + 1) for width in widths]), rows)
        found: dict[str, Entries] = {}
        if self._queries is not None:
            of_each = np.repeat(np.arange(rows), sum(widths)).tolist()
            for name, column in self._queries.table(of_each).items():
                found["query" if name == ID else f"query_{name}"] = column
            one_row = [
                side.removesuffix("s")
                for side, width in zip(self.parts, widths, strict=True)
                for _ in range(width)
            ]
            # All groups in one list are no side.
            if len(self.parts) > 1 or self._examples.kind != "group":
                found["side"] = [*one_row] * rows
        found["rank"] = ranks
        found.update(self._examples.table(places.tolist()))
        found["score" if self._queries is not None else "self_influence"] = scores.numpy()
        if self._exact is not None:
            found["exact"] = self._exact.flatten().numpy()
        return found

    def to_pandas(self) -> Any:
        """The `table` as a DataFrame, with what the scores mean in its `attrs["headwater"]`.

        Raises:
            MissingDependencyError: pandas isn't installed.
        """
        writer = FrameWriter(self.meaning.as_dict())
        writer.write(self.table())
        return writer.frame()

    def to_csv(self, path: str | PathLike[str]) -> None:
        """The `table` as a CSV file; whole or not at all."""
        with replacing(Path(path)) as temporary:
            self._write(CsvWriter(temporary))

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """The `table` as a Parquet file, with what the scores mean in its metadata.

        Raises:
            MissingDependencyError: pyarrow isn't installed.
        """
        with replacing(Path(path)) as temporary:
            self._write(ParquetWriter(temporary, self.meaning.as_dict()))

    def _write(self, writer: Writer) -> None:
        with writer:
            writer.write(self.table())
