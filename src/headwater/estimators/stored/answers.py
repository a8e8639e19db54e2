"""Answers from stored gradients: shards stream by in pieces, from memory-mapped files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from headwater.distributed import Exchange, present
from headwater.forms import Banded, Convolved, Factored, Gradients, Materialised
from headwater.forms.cost import factors_are_smaller
from headwater.forms.projected import PROJECTED
from headwater.query import TopK
from headwater.store import Scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from headwater.engine.sink import AnySink
    from headwater.forms import Form
    from headwater.forms.gradients import Block
    from headwater.store import Shard


# Numbers that are converted to float32 and multiplied before the next are, so that they never leave
# the cache. Measured: 4 MB beats both 2 and 8.
_PIECE_BYTES = 4 * 2**20
# From so many queries on, their product takes longer than the conversion: then half of that.
_MANY = 32
# Where one example's gradient fills the cache by itself, the queries are read from memory anew for
# every piece; enough examples at a time make up for that, in memory that stays bounded.
_LARGEST_PIECE_BYTES = 64 * _PIECE_BYTES


class StoreTopK(NamedTuple):
    """For each query the strongest stored examples, strongest first.

    Attributes:
        indices: their places among the examples that are present, int64; they shift when one is
            deleted, so refer to examples by `ids`.
        influence_scores: their scores.
        ids: their ids, by query.
        exact: which scores are exact, and not those of a projection or a lower precision.
    """

    indices: Int[Tensor, "Q K"]
    influence_scores: Float[Tensor, "Q K"]
    ids: list[list[int | str]]
    exact: Bool[Tensor, "Q K"]


class Answers:
    """What the shards of a state say.

    Args:
        shards: open, in order.
        weights: what the products of each part of a shard are multiplied by.
    """

    def __init__(self, shards: Sequence[Shard], weights: Sequence[float]) -> None:
        self._shards = shards
        self._weights = weights

    def self_influence(self, sink: AnySink, like: Tensor) -> AnySink:
        """The sink with every live example's squared norm in it, summed over the parts by weight.

        Args:
            sink: an empty one.
            like: an empty tensor of the dtype to compute in.
        """
        return self.into(
            sink, lambda _, part: part.squared_norm()[None], like, rows=1, asked="self-influence"
        )

    def pairs(self, sink: AnySink, queries: Sequence[Gradients]) -> AnySink:
        """The sink with all scores with live examples in it.

        Args:
            sink: an empty one.
            queries: the queries' gradients, by part.
        """
        return self.into(
            sink,
            lambda place, part: queries[place].dot(part),
            queries[0].like,
            rows=queries[0].batch_size,
            asked="scores",
        )

    def into(
        self,
        sink: AnySink,
        evaluate: Callable[[int, Gradients], Tensor],
        like: Tensor,
        *,
        rows: int,
        asked: str,
    ) -> AnySink:
        """The sink with columns of all live examples in it; ranks take shards in turn.

        Args:
            sink: an empty one.
            evaluate: makes columns of some examples' gradients, given the place of the part.
            like: an empty tensor of the dtype to compute in.
            rows: how many rows a column has.
            asked: what they are, for ranks to compare.
        """
        shards = [shard for shard in self._shards if len(shard.live)]
        ranks = present()
        scratch = Scratch()
        if ranks is None:
            start = 0
            for shard in shards:
                for columns in self._columns(shard, evaluate, like, rows, scratch):
                    sink.add(start, columns)
                    start += columns.shape[1]
            return sink
        entries = [(e.file, e.sha256, *e.deleted) for e in (shard.entry for shard in self._shards)]
        state = hashlib.sha256(repr(entries).encode()).hexdigest()[:16]
        ranks.meet(
            {"what is asked": asked, "the number of rows": rows, "the state of the store": state}
        )
        exchange = Exchange(ranks, sink, rows)
        with exchange.shared():
            for shard in shards[ranks.rank :: ranks.size]:
                found = list(self._columns(shard, evaluate, like, rows, scratch))
                exchange.add(0, torch.cat(found, dim=1))
        return sink

    def top_k_among(
        self,
        places: Int[Tensor, " M"],
        queries: Sequence[Gradients],
        *,
        k: int,
        side: Literal["proponents", "opponents"],
    ) -> tuple[Int[Tensor, "Q K"], Float[Tensor, "Q K"]]:
        """The strongest of the live examples in some places, where each example has one vector."""
        vectors = queries[0].forms[PROJECTED].materialise()
        return rank(places, vectors @ self.vectors_at(places, vectors).mT, k=k, side=side)

    def vectors(self, like: Tensor) -> Iterator[Float[Tensor, "n D"]]:
        """The vectors of live examples, where each has one; in pieces."""
        for shard in self._shards:
            for first, last in _pieces(shard):
                (part,) = shard.gradients(first, last, like)
                keep = _live(shard, first, last)
                yield part.forms[PROJECTED].materialise()[keep]

    def vectors_at(self, places: Int[Tensor, " M"], like: Tensor) -> Float[Tensor, "M D"]:
        """The vectors of the live examples in some places, in ascending order."""
        found, start = [], 0
        for shard in self._shards:
            count = len(shard.live)
            own = shard.live[places[(places >= start) & (places < start + count)] - start]
            start += count
            for place in own.tolist():
                (part,) = shard.gradients(place, place + 1, like)
                found.append(part.forms[PROJECTED].materialise())
        return torch.cat(found)

    def _columns(
        self,
        shard: Shard,
        evaluate: Callable[[int, Gradients], Tensor],
        like: Tensor,
        rows: int,
        scratch: Scratch,
    ) -> Iterator[Float[Tensor, "R n"]]:
        """The columns of a shard's live examples, in pieces."""
        for first, last in _pieces(shard, rows):
            total: Tensor | None = None
            parts = shard.gradients(first, last, like, scratch)
            for place, (weight, part) in enumerate(zip(self._weights, parts, strict=True)):
                columns = evaluate(place, part)
                columns = columns if weight == 1 else columns.mul_(weight)
                total = columns if total is None else total.add_(columns)
            assert total is not None
            if shard.entry.deleted:
                total = total[:, _live(shard, first, last)]
            yield total


def _pieces(shard: Shard, queries: int = 1) -> Iterator[tuple[int, int]]:
    row_bytes = max(1, 4 * shard.row_numbers)
    piece = _PIECE_BYTES if queries < _MANY else _PIECE_BYTES // 2
    width = max(1, piece // row_bytes, min(queries, _LARGEST_PIECE_BYTES // row_bytes))
    for first in range(0, shard.entry.rows, width):
        yield first, min(first + width, shard.entry.rows)


def _live(shard: Shard, first: int, last: int) -> Int[Tensor, " n"]:
    live = shard.live
    return live[(live >= first) & (live < last)] - first


def rank(
    places: Int[Tensor, " M"],
    scores: Float[Tensor, "Q M"],
    *,
    k: int,
    side: Literal["proponents", "opponents"],
) -> tuple[Int[Tensor, "Q K"], Float[Tensor, "Q K"]]:
    """The k strongest of some examples for every query, ties to the lower place.

    Args:
        places: of the examples, ascending.
        scores: of every query with each of them.
        k: how many.
        side: whether the highest or the lowest.
    """
    sink = TopK(len(scores), k=k, side=side)
    sink.add(0, scores)
    found, values = sink.result()
    return places[found], values


def one_vector(parts: Sequence[Gradients], rates: Sequence[float]) -> Gradients:
    """Projected gradients of all checkpoints as one vector: the rates enter as their roots."""
    vectors = [
        rate**0.5 * part.forms[PROJECTED].materialise()
        for rate, part in zip(rates, parts, strict=True)
    ]
    total = torch.stack(vectors).sum(dim=0)
    return Gradients({PROJECTED: Materialised(total)}, parts[0].batch_size, parts[0].like)


def smallest(part: Gradients) -> Gradients:
    """The same gradients, layer by layer in the form of fewer numbers."""
    forms: dict[Block, Form] = {}
    for block, form in part.forms.items():
        if isinstance(form, (Factored, Convolved)) and not factors_are_smaller(form):
            form = Materialised(form.materialise())
        forms[block] = form.factored() if isinstance(form, Convolved) else form
    return Gradients(forms, part.batch_size, part.like)


def in_order_of_parameters(part: Gradients) -> Gradients:
    """The same gradients, for products with those that a store holds written out."""
    forms = {
        block: Materialised(form.materialise()) if isinstance(form, Banded) else form
        for block, form in part.forms.items()
    }
    return Gradients(forms, part.batch_size, part.like)


def written_out(part: Gradients) -> Gradients:
    """The same gradients, every block written out in full."""
    forms = {block: Materialised(form.materialise()) for block, form in part.forms.items()}
    return Gradients(forms, part.batch_size, part.like)
