"""The k highest or lowest scores of each query, kept while blocks stream by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

Side = Literal["proponents", "opponents"]

# Scores gathered before they are merged (1 MB): selecting from a few columns at a time would cost
# more time, and from many more memory than the batch that they come from.
_GATHERED = 2**18


class TopK:
    """The strongest k training examples of each query; memory Q * (k + a constant).

    Ties go to the lower index, whatever the blocks.

    Args:
        rows: the number of queries Q.
        k: how many to keep per query, at least 0.
        side: "proponents" keeps the highest scores, highest first; "opponents" the lowest, lowest
            first.
    """

    def __init__(self, rows: int, *, k: int, side: Side) -> None:
        self._rows = rows
        self._k = k
        self._side = side
        self._at_once = max(_GATHERED // max(1, rows), 4 * k)
        self._scores: Tensor | None = None
        self._indices = torch.empty(rows, 0, dtype=torch.int64)
        self._waiting: list[Tensor] = []
        self._waiting_columns = 0
        self._end = 0

    def add(self, start: int, block: Float[Tensor, "Q B"]) -> None:
        """Takes the columns from `start` on; blocks come in order, and are kept as they are."""
        if self._scores is None:
            self._scores = torch.empty(self._rows, 0, dtype=block.dtype)
        # Of a part a copy: a view would keep the whole block that it was cut from.
        block = block.cpu()
        self._waiting.append(block.clone() if block._is_view() else block)
        self._waiting_columns += block.shape[1]
        self._end = start + block.shape[1]
        if self._waiting_columns >= self._at_once:
            self._merge()

    @property
    def count(self) -> int:
        """How many columns there were."""
        return self._end

    def result(self) -> tuple[Int[Tensor, "Q K"], Float[Tensor, "Q K"]]:
        """Indices and scores, on the CPU; K is the smaller of k and the columns seen."""
        self._merge()
        scores = torch.empty(self._rows, 0) if self._scores is None else self._scores
        return self._indices, scores

    def _merge(self) -> None:
        if not self._waiting:
            return
        assert self._scores is not None
        first = self._end - self._waiting_columns
        new = self._waiting[0] if len(self._waiting) == 1 else torch.cat(self._waiting, dim=1)
        self._waiting, self._waiting_columns = [], 0
        kept = self._scores.shape[1]
        if kept < self._k or not kept:
            self._scores, self._indices = self._merged(self._scores, self._indices, new, first)
            return
        # After the first few blocks most rows have no new score among their strongest.
        weakest = self._scores[:, -1]
        if self._side == "proponents":
            changed = new.amax(dim=1) > weakest
        else:
            changed = new.amin(dim=1) < weakest
        rows = changed.nonzero()[:, 0]
        if len(rows):
            self._scores[rows], self._indices[rows] = self._merged(
                self._scores[rows], self._indices[rows], new[rows], first
            )

    def _merged(
        self,
        kept: Float[Tensor, "R K"],
        indices: Int[Tensor, "R K"],
        new: Float[Tensor, "R M"],
        first: int,
    ) -> tuple[Float[Tensor, "R L"], Int[Tensor, "R L"]]:
        """The strongest of some rows' kept scores and new ones, and their indices."""
        count = kept.shape[1]
        scores = torch.cat([kept, new], dim=1)
        # What was kept before has lower indices than what is new, so among equal scores the one
        # further left wins.
        order = strongest(scores, self._k, largest=self._side == "proponents")
        found = order + (first - count)
        if count:
            before = indices.gather(1, order.clamp(max=count - 1))
            found = torch.where(order < count, before, found)
        return scores.gather(1, order), found


def strongest(scores: Float[Tensor, "Q M"], k: int, *, largest: bool) -> Int[Tensor, "Q K"]:
    """The places of each row's k strongest scores, strongest first, ties to the lower place."""
    k = min(k, scores.shape[1])
    if not k:
        return torch.empty(len(scores), 0, dtype=torch.int64)
    values, places = scores.topk(k, dim=1, largest=largest)
    last = values[:, -1:]
    # `topk` may pick any of several that tie at the end of the list; then all have to be sorted.
    open_ended = (scores == last).sum(dim=1) > (values == last).sum(dim=1)
    if bool(open_ended.any()):
        rows = scores[open_ended].argsort(dim=1, descending=largest, stable=True)
        places[open_ended] = rows[:, :k]
    places = places.sort(dim=1).values
    order = scores.gather(1, places).argsort(dim=1, descending=largest, stable=True)
    return places.gather(1, order)
