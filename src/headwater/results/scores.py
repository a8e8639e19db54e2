"""Influence scores with names and a meaning, which are computed when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.errors import InputError
from headwater.files import replacing
from headwater.query import AllScores, GroupSums, Several, TopK
from headwater.results.columns import Columns, Grouped, Held
from headwater.results.names import ID, Names, grouped, plural
from headwater.results.top_scores import TopScores
from headwater.results.wide import write_wide
from headwater.results.writers import CsvWriter, FrameWriter, NoWriter, ParquetWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from headwater.query import Side
    from headwater.results.meaning import Meaning

How = Literal["sum", "mean"]


class Scores:
    """Scores of training examples, one row per query, or a single row of self-influence.

    Nothing is computed before it is asked for. `tensor`, `top_k`, `over_examples` and the tables
    each go through the training data once, and keep no more than they return: the matrix of all
    scores is in memory only after `tensor`, `compute` or `to_pandas`. To ask several things of
    scores that fit in memory, `compute` them once.

    Attributes:
        meaning: formula, unit and sign of a score, and the estimator that computes it.
    """

    def __init__(
        self, columns: Columns, meaning: Meaning, *, queries: Names, examples: Names
    ) -> None:
        self.meaning = meaning
        self._columns = columns
        self._queries = queries
        self._examples = examples

    def __repr__(self) -> str:
        facts = [self.meaning.quantity, *self.meaning.steps]
        if self._has_queries:
            facts.append(f"rows={self._columns.rows}")
        if self._columns.count is not None:
            facts.append(f"{plural(self._examples.kind).split()[-1]}={self._columns.count}")
        facts.append(f"by {self.meaning.estimator.get('name')}")
        return f"Scores({', '.join(facts)})"

    @property
    def ids(self) -> list[Any] | None:
        """The training examples' ids, in the order of the columns; None before that is known."""
        count = self._examples.count if self._examples.has_ids else self._columns.count
        return None if count is None else [self._examples.id(place) for place in range(count)]

    @property
    def query_ids(self) -> list[Any]:
        """The queries' ids, in the order of the rows; none for self-influence."""
        if not self._has_queries:
            return []
        return [self._queries.id(place) for place in range(self._columns.rows)]

    def tensor(self) -> Float[Tensor, "R N"]:
        """All scores, a row per query and a column per training example, on the CPU."""
        if isinstance(self._columns, Held):
            return self._columns.matrix
        rows, count = self._columns.rows, self._columns.count
        matrix = self._columns.into(lambda: AllScores(rows, count), bounded=False).result()
        self._examples.refuse_other_count(matrix.shape[1])
        return matrix

    def compute(self) -> Scores:
        """The same scores in memory, R * N numbers, from which everything else is quick."""
        return self._with(Held(self.tensor()))

    def top_k(self, k: int = 5, *, side: Side | Literal["both"] = "proponents") -> TopScores:
        """Each row's k strongest training examples; memory doesn't grow with their number.

        Args:
            k: how many, at least 0.
            side: "proponents", the highest scores, highest first; "opponents", the lowest, lowest
                first; or "both", in one pass.

        Raises:
            InputError: k or side is none of these.
        """
        if not isinstance(k, int) or isinstance(k, bool) or k < 0:
            raise InputError(f"k is {k!r}; expected an int of at least 0")
        if side not in ("proponents", "opponents", "both"):
            raise InputError(f"side is {side!r}; expected 'proponents', 'opponents' or 'both'")
        sides: list[Side] = ["proponents", "opponents"] if side == "both" else [side]
        rows = self._columns.rows
        found = self._columns.into(
            lambda: Several([TopK(rows, k=k, side=one) for one in sides]), bounded=True
        )
        self._examples.refuse_other_count(found.sinks[0].count)
        return self.named(
            {one: sink.result() for one, sink in zip(sides, found.sinks, strict=True)}
        )

    def named(
        self,
        parts: Mapping[Side, tuple[Int[Tensor, "R K"], Float[Tensor, "R K"]]],
        *,
        exact: Bool[Tensor, "R K"] | None = None,
    ) -> TopScores:
        """Strongest examples that were found in another way, such as a store's in two stages.

        Args:
            parts: by side, the examples' places and their scores, strongest first.
            exact: of a single side, which scores are exact where others are estimates.
        """
        return TopScores(
            parts,
            self.meaning,
            queries=self._queries if self._has_queries else None,
            examples=self._examples,
            exact=exact,
        )

    def over_queries(self, by: str | Sequence[Any] | None = None, *, how: How = "sum") -> Scores:
        """The scores added up over the queries, or over each group of them.

        A sum over all queries says which training data drives them together, and costs as much as
        a single query.

        Args:
            by: the queries' groups: a column's name, or an entry per query (their classes, say).
                None takes all of them together.
            how: "sum", or "mean" over the queries of a group.

        Returns:
            scores with a row per group, in the order in which groups first appear.

        Raises:
            InputError: these are self-influence, which has no queries; or `by` isn't known.
        """
        _refuse_odd_how(how)
        if not self._has_queries:
            raise InputError("self-influence has no queries to add up over")
        rows = self._columns.rows
        if by is None:
            columns = self._columns.summed()
            if how == "mean":
                columns = Grouped(columns, [0], torch.tensor([float(rows)]))
            meaning = self.meaning.after(f"{how} over {rows} {'query' if rows == 1 else 'queries'}")
            everything = Names("group", {ID: ["all"]})
            return Scores(columns, meaning, queries=everything, examples=self._examples)
        groups, of_each = grouped(self._queries.column(by))
        divisors = _sizes(of_each, len(groups)) if how == "mean" else torch.ones(len(groups))
        return Scores(
            Grouped(self._columns, of_each, divisors),
            self.meaning.after(f"{how} over queries by {_name(by)}"),
            queries=Names("group", {ID: groups}, id_name=_name(by)),
            examples=self._examples,
        )

    def over_examples(self, by: str | Sequence[Any], *, how: How = "sum") -> Scores:
        """The scores added up over each group of training examples; computed now, in one pass.

        Args:
            by: the training examples' groups: a column's name, or an entry per example (their
                source, annotator or class, say).
            how: "sum", the influence of a group as a whole; or "mean", of one of its examples.

        Returns:
            scores with a column per group, in the order in which groups first appear, in memory.

        Raises:
            InputError: `by` isn't known, or has another length.
        """
        _refuse_odd_how(how)
        groups, of_each = grouped(self._examples.column(by))
        number, places = len(groups), torch.tensor(of_each, dtype=torch.int64)
        sums = self._columns.into(lambda: GroupSums(places, number), bounded=True).result()
        sizes = _sizes(of_each, number)
        if how == "mean":
            sums = sums / sizes.to(sums.dtype)
        named = Names("group", {ID: groups, "group_size": sizes.long()}, id_name=_name(by))
        return Scores(
            Held(sums),
            self.meaning.after(f"{how} over training examples by {_name(by)}"),
            queries=self._queries,
            examples=named,
        )

    def to_pandas(self) -> Any:
        """A DataFrame with a row per training example, of its names and its scores.

        Columns: `id`, `index` (its place in the training data), what else is known of it, and a
        column of scores per row: `score_<id of the query>`, `score_<group>`, `score_all`, or
        `self_influence`. `attrs["headwater"]` says what the scores mean.

        Raises:
            MissingDependencyError: pandas isn't installed.
        """
        meaning = self.meaning.as_dict()
        writer = self._write(lambda: FrameWriter(meaning))
        assert isinstance(writer, FrameWriter)
        return writer.frame()

    def to_csv(self, path: str | PathLike[str]) -> None:
        """The table of `to_pandas` as a CSV file, in bounded memory; whole or not at all."""
        with replacing(Path(path)) as temporary:
            self._write(lambda: CsvWriter(temporary))

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """The table of `to_pandas` as a Parquet file, in bounded memory; whole or not at all.

        What the scores mean is in the file's metadata, under "headwater", as JSON.

        Raises:
            MissingDependencyError: pyarrow isn't installed.
        """
        meaning = self.meaning.as_dict()
        with replacing(Path(path)) as temporary:
            self._write(lambda: ParquetWriter(temporary, meaning))

    def pass_over(self) -> None:
        """Computes what `to_csv` would write, and keeps nothing of it.

        For a rank that takes part while another one writes the table.
        """
        self._write(NoWriter)

    @property
    def _has_queries(self) -> bool:
        return self.meaning.quantity == "influence"

    def _with(self, columns: Columns) -> Scores:
        return Scores(columns, self.meaning, queries=self._queries, examples=self._examples)

    def _write(self, open_writer: Any) -> Any:
        return write_wide(self._columns, open_writer, self._examples, self._headings())

    def _headings(self) -> list[str]:
        if not self._has_queries:
            return ["self_influence"]
        return [f"score_{one}" for one in self.query_ids]


def _refuse_odd_how(how: str) -> None:
    if how not in ("sum", "mean"):
        raise InputError(f"how is {how!r}; expected 'sum' or 'mean'")


def _sizes(of_each: Sequence[int], number: int) -> Float[Tensor, " G"]:
    return torch.bincount(torch.tensor(of_each, dtype=torch.int64), minlength=number).double()


def _name(by: str | Sequence[Any]) -> str:
    return by if isinstance(by, str) else "group"
