"""Scores as a table of one row per training example, written while they stream by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.results.columns import Columns
    from headwater.results.names import Names
    from headwater.results.writers import Writer


class _Rows:
    """Turns blocks of columns into rows of a table."""

    def __init__(self, writer: Writer, examples: Names, headings: Sequence[str]) -> None:
        self.writer = writer
        self.count = 0
        self._examples = examples
        self._headings = headings

    def add(self, start: int, block: Float[Tensor, "R B"]) -> None:
        """Takes the columns from `start` on."""
        self.count = start + block.shape[1]
        if self._examples.columns and self.count > (self._examples.count or 0):
            self._examples.refuse_other_count(self.count)
        scores = zip(self._headings, block.cpu().numpy(), strict=True)
        self.writer.write({**self._examples.table(range(start, self.count)), **dict(scores)})


def write_wide(
    columns: Columns, open_writer: Callable[[], Writer], examples: Names, headings: Sequence[str]
) -> Writer:
    """The writer, closed, with a row for every column; memory doesn't grow with their number.

    Args:
        columns: the scores.
        open_writer: opens the table, over what was there; called again if a pass starts anew.
        examples: the training examples' names.
        headings: of the scores, one per row of them.

    Raises:
        InputError: `examples` is of another number than there are.
    """
    opened: list[Writer] = []

    def begin() -> _Rows:
        _close(opened)
        opened.append(open_writer())
        return _Rows(opened[-1], examples, headings)

    try:
        rows = columns.into(begin, bounded=True)
        examples.refuse_other_count(rows.count)
        if not rows.count:
            rows.add(0, torch.empty(len(headings), 0))
    finally:
        _close(opened)
    return rows.writer


def _close(opened: list[Writer]) -> None:
    while opened:
        opened.pop().close()
