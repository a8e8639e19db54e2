"""What `influence` and `store query` have in common: from scores to what was asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from headwater.cli.answers import show_top, write_all

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.results import Scores


@dataclass(frozen=True)
class Asked:
    """The options of `options.top_of_queries`, `--out` and `--json`.

    Attributes:
        k: how many training examples to name.
        side: of which side.
        summed: whether the queries are added up.
        by: the column by which training examples are added up; None for none.
        everything: whether all scores are to be written.
        out: where to; None for nowhere.
        as_json: whether JSON is printed.
    """

    k: int
    side: Literal["proponents", "opponents", "both"]
    summed: bool
    by: str | None
    everything: bool
    out: Path | None
    as_json: bool

    def refuse_odd(self) -> None:
        """Raises click.UsageError for options that don't go together."""
        if self.everything and self.out is None:
            raise click.UsageError("--all writes every score to a file; name it with --out")
        if self.everything and self.as_json:
            raise click.UsageError("--all writes a file; --json is for what is printed")

    def answer(self, scores: Scores) -> None:
        """Computes what was asked for, shows it, and writes it."""
        if self.summed:
            scores = scores.over_queries()
        if self.by is not None:
            scores = scores.over_examples(self.by)
        if self.everything:
            assert self.out is not None
            write_all(scores, self.out)
        elif self.by is not None:
            # Few enough to be named in one list, whose two ends are the two sides.
            number = len(scores.ids or [])
            show_top(scores.top_k(number), out=self.out, as_json=self.as_json)
        else:
            top = scores.top_k(self.k, side=self.side)
            show_top(top, out=self.out, as_json=self.as_json)
