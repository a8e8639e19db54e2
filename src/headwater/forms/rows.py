"""Gradients of a lookup table: few rows of many."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from headwater.forms.form import Form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class Touched:
    """The rows that each of B gradients is other than zero at, each once; ordered by row.

    Attributes:
        starts: where each row's entries begin; at the end, the number of entries R.
        rows: the row that an entry stands at.
        owners: whose gradient an entry is of, 0 to B - 1.
        values: the gradient at that row.
    """

    starts: Int[Tensor, " V+1"]
    rows: Int[Tensor, " R"]
    owners: Int[Tensor, " R"]
    values: Float[Tensor, "R E"]


@dataclass(frozen=True)
class Rows(Form):
    """Gradient n of a table of V rows: at each position s, `values[s]` added at row `ids[s]`.

    Attributes:
        ids: the row that each position looked up; a row may come more than once.
        values: the gradient of the example's loss at what was looked up.
        table_rows: the number of rows V of the table.
    """

    ids: Int[Tensor, "B S"]
    values: Float[Tensor, "B S E"]
    table_rows: int

    @property
    def batch_size(self) -> int:
        return self.ids.shape[0]

    @property
    def positions(self) -> int:
        return self.ids.shape[1]

    @property
    def numbers(self) -> int:
        return self.table_rows * self.values.shape[2]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.ids, self.values)

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> Rows:
        return replace(self, ids=tensors[0], values=tensors[1])

    @cached_property
    def touched(self) -> Touched:
        """The same gradients by row; kept, since queries meet one batch after another."""
        owners = torch.arange(self.batch_size, device=self.ids.device)
        keys = (self.ids.long() * self.batch_size + owners[:, None]).flatten()
        entries, where = torch.unique(keys, return_inverse=True)
        values = self.values.new_zeros(len(entries), self.values.shape[2])
        values.index_add_(0, where, self.values.flatten(0, 1))
        first_keys = self.batch_size * torch.arange(self.table_rows + 1, device=self.ids.device)
        starts = torch.searchsorted(entries, first_keys)
        rows = entries // self.batch_size
        return Touched(starts, rows, entries % self.batch_size, values)

    def of_rows(self, first: int, stop: int) -> Rows:
        """The gradients of the table's rows from `first` to before `stop`, as of a table of these.

        Positions that looked up another row add zero to the first of them.
        """
        kept = (self.ids >= first) & (self.ids < stop)
        ids = torch.where(kept, self.ids - first, 0)
        return Rows(ids, torch.where(kept[:, :, None], self.values, 0), stop - first)

    def squared_norm(self) -> Float[Tensor, " B"]:
        pieces = self.pieces(2 * self.positions * self.positions)
        return torch.cat([piece._norm_on_equal_rows() for piece in pieces])

    def _norm_on_equal_rows(self) -> Float[Tensor, " B"]:
        same_row = self.ids[:, :, None] == self.ids[:, None, :]
        return (self.values @ self.values.mT).mul_(same_row).sum(dim=(1, 2))

    def materialise(self) -> Float[Tensor, "B P"]:
        batch, _, width = self.values.shape
        table = self.values.new_zeros(batch, self.table_rows, width)
        index = self.ids[:, :, None].expand(self.values.shape)
        return table.scatter_add_(1, index, self.values).flatten(1)

    def weighted_sum(self, weights: Float[Tensor, " B"]) -> Float[Tensor, " P"]:
        table = self.values.new_zeros(self.table_rows, self.values.shape[2])
        weighted = self.values * weights[:, None, None]
        return table.index_add_(0, self.ids.flatten(), weighted.flatten(0, 1)).flatten()

    def magnitudes(self) -> Rows:
        return self.with_tensors((self.ids, self.values.abs()))

    @classmethod
    def cat(cls, forms: Sequence[Rows]) -> Rows:
        # A value of zero adds nothing, wherever it is added: row 0 is as good as any.
        longest = max(form.positions for form in forms)
        ids = [pad(form.ids, (0, longest - form.positions)) for form in forms]
        values = [pad(form.values, (0, 0, 0, longest - form.positions)) for form in forms]
        return forms[0].with_tensors((torch.cat(ids), torch.cat(values)))

    def split(self, sizes: Sequence[int]) -> list[Form]:
        return [self]
