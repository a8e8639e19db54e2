"""What a store of a method's vectors says: scores as the method makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.errors import InputError
from headwater.estimators.question import Question
from headwater.estimators.stored.answers import StoreTopK
from headwater.estimators.stored.snapshot import Snapshot, like_queries
from headwater.estimators.vectors import VectorAnswers, VectorParts
from headwater.query import TopK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from headwater.engine.sink import AnySink
    from headwater.estimators.streamed import Streamed
    from headwater.estimators.vectors.scoring import AnyVectorSink
    from headwater.store import Manifest, Shard
    from headwater.tasks import Task

# Numbers of vectors that are converted and multiplied at a time.
_PIECE_BYTES = 32 * 2**20


def snapshot_of(parts: Streamed, manifest: Manifest, shards: Sequence[Shard]) -> Snapshot:
    """The snapshot that answers as an estimator of these parts does."""
    if isinstance(parts, VectorParts):
        return VectorSnapshot(parts, manifest, shards)
    return Snapshot(parts, manifest, shards)


class ShardVectors:
    """The vectors of a store's live examples.

    Args:
        shards: open, in order.
        like: an empty tensor of the dtype to compute in.
    """

    def __init__(self, shards: Sequence[Shard], like: Tensor) -> None:
        self._shards = shards
        self._like = like

    def into(self, sink: Callable[[], AnyVectorSink], *, show_progress: bool) -> AnyVectorSink:
        """The sink with all vectors in it; see `VectorSource`."""
        filled, start = sink(), 0
        for shard in self._shards:
            width = max(1, _PIECE_BYTES // max(1, 4 * shard.row_numbers))
            for first in range(0, shard.entry.rows, width):
                last = min(first + width, shard.entry.rows)
                parts = shard.gradients(first, last, self._like)
                if shard.entry.deleted:
                    live = shard.live
                    keep = live[(live >= first) & (live < last)] - first
                    parts = [part.at(keep) for part in parts]
                if parts[0].batch_size:
                    filled.add(start, parts)
                    start += parts[0].batch_size
        return filled


class VectorSnapshot(Snapshot):
    """A snapshot of a store that was built from an estimator of `VectorParts`."""

    def __init__(self, parts: VectorParts, manifest: Manifest, shards: Sequence[Shard]) -> None:
        super().__init__(parts, manifest, shards)
        source = ShardVectors(shards, like_queries(parts))
        self._by_vectors = VectorAnswers(parts, source, manifest.live)

    def scores(self, task: Task, batch: Any) -> Float[Tensor, "Q N"]:
        return self._by_vectors.scores(task, batch, show_progress=False)

    def self_influence(self) -> Float[Tensor, " N"]:
        return self._by_vectors.self_influence(show_progress=False)

    def stream(self, question: Question | None, sink: Callable[[], AnySink]) -> AnySink:
        return self._by_vectors.stream(question, sink, bounded=True, show_progress=False)

    def top_k(
        self,
        task: Task,
        batch: Any,
        *,
        k: int,
        side: Literal["proponents", "opponents"],
        recompute: int | None = None,
        approximate: int | None = None,
    ) -> StoreTopK:
        self._refuse_odd(k, side, recompute=recompute, approximate=approximate)
        for name, given in (("recompute", recompute), ("approximate", approximate)):
            if given is not None:
                raise InputError(
                    f"{name} is for stores of TracIn's gradients; the scores of this one are made "
                    f"of its vectors and of what all of them have in common"
                )
        question = Question.of(task, batch)
        sink = self.stream(question, lambda: TopK(question.rows, k=k, side=side))
        indices, scores = sink.result()
        ids = self.ids
        named = [[ids[place] for place in row] for row in indices.tolist()]
        # They are what the estimator itself gives, but for a lower precision of what is stored.
        exact = torch.full(indices.shape, self.manifest.binding["dtype"] in ("float64", "float32"))
        return StoreTopK(indices, scores, named, exact)
