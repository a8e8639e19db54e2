"""Tables that are written row by row: CSV, Parquet, and a pandas frame."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from headwater.results.optional import import_optional

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from headwater.results.names import Entries

METADATA = "headwater"
# Parquet keeps statistics and dictionaries per group of rows; small ones cost more than they hold.
_GROUP_ROWS = 16_384


class Writer(ABC):
    """Takes rows, some at a time; within a `with`, at whose end the table is whole."""

    @abstractmethod
    def write(self, rows: Mapping[str, Entries]) -> None:
        """Takes rows, as columns of equal length; always the same columns in the same order."""

    @abstractmethod
    def close(self) -> None:
        """Finishes the table; may be called twice."""

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class NoWriter(Writer):
    """Takes rows and keeps none."""

    def write(self, rows: Mapping[str, Entries]) -> None:
        pass

    def close(self) -> None:
        pass


class CsvWriter(Writer):
    """A CSV file with a header line; a number has as many digits as tell it from all others."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._begun = False

    def write(self, rows: Mapping[str, Entries]) -> None:
        if not self._begun:
            self._writer.writerow(rows)
            self._begun = True
        columns = [_texts(column) for column in rows.values()]
        self._writer.writerows(zip(*columns, strict=True))

    def close(self) -> None:
        self._file.close()


class ParquetWriter(Writer):
    """A Parquet file; what the scores mean is in its metadata, under "headwater", as JSON.

    Raises:
        MissingDependencyError: pyarrow isn't installed.
    """

    def __init__(self, path: Path, meaning: Mapping[str, Any]) -> None:
        self._arrow = import_optional("pyarrow", "writing Parquet")
        self._parquet = import_optional("pyarrow.parquet", "writing Parquet")
        self._path = path
        self._metadata = {METADATA: json.dumps(meaning)}
        self._waiting: list[Any] = []
        self._waiting_rows = 0
        self._file: Any = None

    def write(self, rows: Mapping[str, Entries]) -> None:
        columns = {name: self._array(column) for name, column in rows.items()}
        self._waiting.append(self._arrow.table(columns))
        self._waiting_rows += self._waiting[-1].num_rows
        if self._waiting_rows >= _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = self._arrow.concat_tables(self._waiting)
        self._waiting, self._waiting_rows = [], 0
        if self._file is None:
            self._schema = table.schema.with_metadata(self._metadata)
            self._file = self._parquet.ParquetWriter(self._path, self._schema)
        self._file.write_table(table.cast(self._schema))

    def _array(self, column: Entries) -> Any:
        # Texts may be missing in all rows of a group, of which no type could be told.
        text = self._arrow.string() if isinstance(column, list) else None
        return self._arrow.array(column, type=text)


class FrameWriter(Writer):
    """A pandas DataFrame; what the scores mean is in its `attrs`, under "headwater".

    Raises:
        MissingDependencyError: pandas isn't installed.
    """

    def __init__(self, meaning: Mapping[str, Any]) -> None:
        self._pandas = import_optional("pandas", "to_pandas")
        self._meaning = meaning
        self._parts: list[Any] = []

    def write(self, rows: Mapping[str, Entries]) -> None:
        self._parts.append(self._pandas.DataFrame(dict(rows)))

    def close(self) -> None:
        pass

    def frame(self) -> Any:
        """The frame, of all rows so far."""
        frame = self._pandas.concat(self._parts, ignore_index=True)
        frame.attrs[METADATA] = dict(self._meaning)
        return frame


def _texts(column: Entries) -> Sequence[object]:
    if isinstance(column, list):
        return column
    if column.dtype.kind != "f":
        values: list[object] = column.tolist()
        return values
    # By way of float64 a float32 would be written with digits that it doesn't have.
    return ["" if value != value else str(value) for value in column]
